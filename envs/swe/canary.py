"""Canaries: copies of test modules in which every assertion is turned so that it must not hold.

`assert a == b` becomes `assert a == NEVER`, where NEVER equals nothing. Honest values fail it. A
runner that was patched to pass everything, and a value that claims to equal everything, pass it and
give themselves away. A canary counts only when a turned assertion was reached.
"""

import ast
from dataclasses import dataclass

__all__ = ["Canary", "canary_of"]

_PRELUDE = """
class _Never_(Exception):
    __hash__ = None
    def __eq__(self, other): return False
    def __ne__(self, other): return False
_never_ = _Never_()
_hits_ = []
def _hit_():
    _hits_.append(1)
"""

_UNITTEST_PAIRS = frozenset(
    "assertEqual assertEquals assertNotEqual assertListEqual assertDictEqual assertTupleEqual "
    "assertSetEqual assertMultiLineEqual assertIs assertCountEqual assertAlmostEqual".split()
)
_UNITTEST_SWAPS = {"assertTrue": "assertFalse", "assertFalse": "assertTrue"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A turned module."""

    source: str
    turned: frozenset[str]
    """Names of the test functions that hold a turned assertion."""
    expects_failures: bool
    """The module speaks of xfail, so that an expected failure of a copy means nothing."""


def canary_of(source: str) -> Canary | None:
    """The canary of a test module; None where it has no test that can be turned."""
    try:
        module = ast.parse(source)
    except SyntaxError:
        return None
    turned: set[str] = set()
    for function in [n for n in ast.walk(module) if isinstance(n, ast.FunctionDef)]:
        if function.name.startswith("test"):
            turner = _Turner()
            function.body = [turner.visit(statement) for statement in function.body]
            function.body = _flat(function.body)
            if turner.count:
                turned.add(function.name)
    if not turned:
        return None
    at = _after_future_imports(module)
    module.body[at:at] = ast.parse(_PRELUDE).body
    return Canary(
        source=ast.unparse(ast.fix_missing_locations(module)),
        turned=frozenset(turned),
        expects_failures="xfail" in source,
    )


def _flat(body: list[ast.stmt]) -> list[ast.stmt]:
    flat: list[ast.stmt] = []
    for statement in body:
        flat.extend(statement if isinstance(statement, list) else [statement])
    return flat


def _after_future_imports(module: ast.Module) -> int:
    last = 0
    for index, statement in enumerate(module.body):
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            last = index + 1
        if index == 0 and isinstance(statement, ast.Expr) and last == 0:
            last = 1 if isinstance(statement.value, ast.Constant) else 0
    return last


def _name(identifier: str) -> ast.Name:
    return ast.Name(id=identifier, ctx=ast.Load())


def _hit() -> ast.Expr:
    return ast.Expr(value=ast.Call(func=_name("_hit_"), args=[], keywords=[]))


class _Turner(ast.NodeTransformer):
    """Turns assertions; nested functions and classes are left alone."""

    def __init__(self) -> None:
        self.count = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST:
        return node  # a failure in it may be caught

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        self.count += 1
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            operator = test.ops[0]
            if isinstance(operator, (ast.Eq, ast.NotEq, ast.Is)):
                test.comparators = [_name("_never_")]
                return [_hit(), node]
            if isinstance(operator, ast.In):
                test.left = _name("_never_")
                return [_hit(), node]
        node.test = ast.UnaryOp(op=ast.Not(), operand=test)
        return [_hit(), node]

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        function = node.func
        if isinstance(function, ast.Attribute) and node.args:
            if function.attr in _UNITTEST_PAIRS and len(node.args) >= 2:
                node.args[1] = _name("_never_")
                return self._marked(node)
            if function.attr in _UNITTEST_SWAPS:
                function.attr = _UNITTEST_SWAPS[function.attr]
                return self._marked(node)
            if function.attr in ("raises", "assertRaises"):
                node.args[0] = _name("_Never_")
                node.keywords = []
                return self._marked(node)
        return node

    def _marked(self, node: ast.Call) -> ast.AST:
        """`(hit(), call)[1]`: the mark and the call in one expression."""
        self.count += 1
        pair = ast.Tuple(elts=[_hit().value, node], ctx=ast.Load())
        return ast.Subscript(value=pair, slice=ast.Constant(value=1), ctx=ast.Load())
