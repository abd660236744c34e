"""Test logs to test results: one function per log form, chosen by name or by repository."""

from turngym.envs.swe.parsers.status import Parser, Results, Status
from turngym.envs.swe.parsers.table import PARSERS, parser_of, region

__all__ = ["PARSERS", "Parser", "Results", "Status", "parser_of", "region"]
