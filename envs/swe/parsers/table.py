"""Which parser reads whose log, and which part of a log holds test output."""

from collections.abc import Mapping

from turngym.envs.swe.parsers.go_log import parse_go
from turngym.envs.swe.parsers.languages import (
    parse_any,
    parse_cargo,
    parse_ctest,
    parse_javascript,
    parse_maven,
)
from turngym.envs.swe.parsers.pytest_log import (
    parse_matplotlib,
    parse_pytest,
    parse_pytest_options,
    parse_pytest_v2,
    parse_seaborn,
)
from turngym.envs.swe.parsers.status import Parser
from turngym.envs.swe.parsers.sympy_log import parse_sympy
from turngym.envs.swe.parsers.unittest_log import parse_django
from turngym.errors import UnknownNameError

__all__ = ["END", "PARSERS", "START", "parser_of", "region"]

START = ">>>>> Start Test Output"
END = ">>>>> End Test Output"

PARSERS: Mapping[str, Parser] = {
    "pytest": parse_pytest,
    "pytest_options": parse_pytest_options,
    "pytest_v2": parse_pytest_v2,
    "django": parse_django,
    "sympy": parse_sympy,
    "seaborn": parse_seaborn,
    "matplotlib": parse_matplotlib,
    "go": parse_go,
    "cargo": parse_cargo,
    "maven": parse_maven,
    "ctest": parse_ctest,
    "javascript": parse_javascript,
    "any": parse_any,
}

# Repositories of SWE-bench whose logs are not plain pytest.
_BY_REPOSITORY = {
    "astropy/astropy": "pytest_v2",
    "django/django": "django",
    "matplotlib/matplotlib": "matplotlib",
    "mwaskom/seaborn": "seaborn",
    "psf/requests": "pytest_options",
    "pydicom/pydicom": "pytest_options",
    "pylint-dev/pylint": "pytest_options",
    "scikit-learn/scikit-learn": "pytest_v2",
    "sphinx-doc/sphinx": "pytest_v2",
    "sympy/sympy": "sympy",
    "gin-gonic/gin": "go",
}


def parser_of(repository: str, name: str | None = None) -> Parser:
    """The parser called `name`, or else the one for `owner/name`; plain pytest for unknown ones.

    Args:
        repository: `owner/name`; SWE-smith's `swesmith/owner__name.commit` is understood.
        name: also in SWE-bench's spelling, `parse_log_django`.

    Raises:
        UnknownNameError: no parser has this name.
    """
    if name:
        short = name.removeprefix("parse_log_")
        if short not in PARSERS and short in _BY_PROJECT:
            short = _BY_PROJECT[short]
        if short not in PARSERS:
            raise UnknownNameError("log parser", name, PARSERS)
        return PARSERS[short]
    if repository.startswith("swesmith/"):
        repository = repository.removeprefix("swesmith/").rpartition(".")[0].replace("__", "/")
    return PARSERS[_BY_REPOSITORY.get(repository, "pytest")]


# SWE-bench also calls parsers by project: `parse_log_astropy` and so on.
_BY_PROJECT = {repository.split("/")[1]: name for repository, name in _BY_REPOSITORY.items()} | {
    "scikit": "pytest_v2",
    **dict.fromkeys(
        ("flask", "marshmallow", "pvlib", "pyvista", "sqlfluff", "xarray", "astroid"), "pytest"
    ),
}


def region(log: str) -> str:
    """The text from the first start marker to the last end marker; all of it without markers.

    First and last, because a test may print the markers too.
    """
    first, last = log.find(START), log.rfind(END)
    if first < 0:
        return log
    return log[first + len(START) : last if last > first else len(log)]
