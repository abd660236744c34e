# What a user runs. CI calls the same targets.
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.stamp

.PHONY: help setup check test train wheel bench clean
help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

setup: $(STAMP)  ## make .venv with everything that training and the tests need
$(STAMP): pyproject.toml constraints.txt
	sh .ci/setup $(VENV) '.[dev]'
	touch $@

check: $(STAMP)  ## lint, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright

test: $(STAMP)  ## the tests that need no server, GPU or other environment
	$(VENV)/bin/pytest -m 'not slow and not docker and not gpu and not vllm and not verl and not trl'

clean:  ## remove what the targets made, .venv included
	rm -rf $(VENV) build dist runs .pytest_cache .mypy_cache .ruff_cache
