# What a user runs. CI calls the same targets.
VENV ?= .venv
OUT ?= runs/web_shop
PYTEST_ARGS ?=
STAMP := $(VENV)/.stamp
BENCHMARKS ?= web_shop conversational_qa emotional_support credit/cpu first_light
NOT_HERE := not slow and not docker and not gpu and not vllm and not verl and not trl and not served and not ray and not verifiers and not browser

.PHONY: help setup check test train bench docs wheel clean
help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## make .venv with everything that training and the tests need
$(STAMP): pyproject.toml constraints.txt .ci/setup
	sh .ci/setup $(VENV) '.[dev]'
	touch $@

train: $(STAMP)  ## train a small policy in the web shop, on the CPU, offline
	$(VENV)/bin/turngym train web_shop --out $(OUT)

check: $(STAMP)  ## lint, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright

test: $(STAMP)  ## the tests that need no server, GPU or other environment
	$(VENV)/bin/pytest -q -m '$(NOT_HERE)' $(PYTEST_ARGS)

wheel: $(STAMP)  ## build wheel and sdist, install the wheel elsewhere and test it there
	sh .ci/wheel $(VENV)

bench: $(STAMP)  ## the benchmarks, one after the other (results in benchmarks/results)
	for script in $(BENCHMARKS); do $(VENV)/bin/python benchmarks/$$script.py || exit 1; done

docs: $(STAMP)  ## build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

clean:  ## remove what the targets made, .venv included
	rm -rf $(VENV) build dist runs site .pytest_cache .mypy_cache .ruff_cache
