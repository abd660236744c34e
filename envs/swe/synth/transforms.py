"""Small mistakes that programmers make, each as a change of one place in a Python module.

A transform maps one node of the concrete syntax tree to its faulty form, or to None where it does
not apply; `mutations` finds its places and `mutate` makes the change at one of them. All are pure:
the same source gives the same places in the same order. Procedural bugs follow SWE-smith
(arXiv 2504.21798); the choice and the code are our own. Needs libcst: `pip install 'turngym[swe]'`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import libcst as cst
import libcst.matchers as m

from turngym.registry import Registry

__all__ = ["TRANSFORMS", "Mutation", "Transform", "mutate", "mutations"]

Made: TypeAlias = cst.CSTNode | cst.RemovalSentinel | cst.FlattenSentinel[cst.CSTNode] | None
Transform: TypeAlias = Callable[[cst.CSTNode], Made]
"""The faulty form of a node; None where it does not apply."""

TRANSFORMS: Registry[Transform] = Registry("transform")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One place where a transform applies."""

    transform: str
    index: int
    """Number of the place among those of the transform, in the order of the source."""
    function: str
    """Qualified name of the function around it."""


def mutations(source: str, names: Sequence[str] | None = None) -> tuple[Mutation, ...]:
    """All places inside functions of a module where one of the transforms applies.

    Docstrings, annotations, decorators and `if TYPE_CHECKING` are left alone.

    Args:
        names: transforms to look for; None takes all.

    Raises:
        libcst.ParserSyntaxError: the source is no Python.
        UnknownNameError: a transform that there is not.
    """
    visitor = _Visitor(names if names is not None else tuple(TRANSFORMS))
    cst.parse_module(source).visit(visitor)
    return tuple(visitor.places)


def mutate(source: str, mutation: Mutation) -> str:
    """The source with one mutation made; formatting and comments elsewhere stay as they are.

    Raises:
        ValueError: there is no such place, as when the source is not the one it was found in.
    """
    visitor = _Visitor((mutation.transform,), target=mutation)
    changed = cst.parse_module(source).visit(visitor)
    if mutation not in visitor.places:
        raise ValueError(f"{mutation.transform} has no place {mutation.index} in this source")
    return changed.code


class _Visitor(cst.CSTTransformer):
    """Collects the places of some transforms, and makes the change at `target`."""

    def __init__(self, names: Sequence[str], target: Mutation | None = None) -> None:
        super().__init__()
        self.places: list[Mutation] = []
        self._transforms = {name: TRANSFORMS[name] for name in names}
        self._counts = dict.fromkeys(self._transforms, 0)
        self._target = target
        self._scope: list[tuple[str, bool]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, (cst.Annotation, cst.Decorator)) or _only_typing(node):
            return False
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            self._scope.append((node.name.value, isinstance(node, cst.FunctionDef)))
        return True

    def on_leave(  # type: ignore[override]
        self, original_node: cst.CSTNode, updated_node: cst.CSTNode
    ) -> cst.CSTNode | cst.RemovalSentinel | cst.FlattenSentinel[cst.CSTNode]:
        if isinstance(original_node, (cst.FunctionDef, cst.ClassDef)):
            self._scope.pop()
            return updated_node
        inside = any(is_function for _, is_function in self._scope)
        if not inside or _only_typing(original_node):
            return updated_node
        for name, transform in self._transforms.items():
            faulty = transform(original_node)
            if faulty is None:
                continue
            function = ".".join(name for name, _ in self._scope)
            place = Mutation(transform=name, index=self._counts[name], function=function)
            self._counts[name] += 1
            self.places.append(place)
            if place == self._target:
                return faulty
        return updated_node


def _only_typing(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.If) and m.matches(
        node.test, m.Name("TYPE_CHECKING") | m.Attribute(attr=m.Name("TYPE_CHECKING"))
    )


_NEIGHBOURS: dict[type[cst.BaseCompOp], Callable[[], cst.BaseCompOp]] = {
    cst.LessThan: cst.LessThanEqual,
    cst.LessThanEqual: cst.LessThan,
    cst.GreaterThan: cst.GreaterThanEqual,
    cst.GreaterThanEqual: cst.GreaterThan,
}
_OPPOSITES: dict[type[cst.BaseCompOp], Callable[[], cst.BaseCompOp]] = {
    cst.Equal: cst.NotEqual,
    cst.NotEqual: cst.Equal,
    cst.In: cst.NotIn,
    cst.NotIn: cst.In,
    cst.Is: cst.IsNot,
    cst.IsNot: cst.Is,
}
_ARITHMETIC: dict[type[cst.BaseBinaryOp], Callable[[], cst.BaseBinaryOp]] = {
    cst.Add: cst.Subtract,
    cst.Subtract: cst.Add,
    cst.Multiply: cst.FloorDivide,
    cst.Divide: cst.FloorDivide,
    cst.FloorDivide: cst.Divide,
    cst.Modulo: cst.FloorDivide,
}


def _compared(
    node: cst.CSTNode, table: dict[type[cst.BaseCompOp], Callable[[], cst.BaseCompOp]]
) -> Made:
    if not isinstance(node, cst.Comparison):
        return None
    first, *others = node.comparisons
    other = table.get(type(first.operator))
    if other is None:
        return None
    return node.with_changes(comparisons=[first.with_changes(operator=other()), *others])


@TRANSFORMS.register("move_boundary")
def _move_boundary(node: cst.CSTNode) -> Made:
    """`<` becomes `<=`, `>` becomes `>=`, and the other way round."""
    return _compared(node, _NEIGHBOURS)


@TRANSFORMS.register("negate_comparison")
def _negate_comparison(node: cst.CSTNode) -> Made:
    """`==` becomes `!=`, `in` becomes `not in`, `is` becomes `is not`, and back."""
    return _compared(node, _OPPOSITES)


@TRANSFORMS.register("swap_branches")
def _swap_branches(node: cst.CSTNode) -> Made:
    """The bodies of `if` and `else` change places; `a if c else b` becomes `b if c else a`."""
    if isinstance(node, cst.IfExp):
        return node.with_changes(body=node.orelse, orelse=node.body)
    if isinstance(node, cst.If) and isinstance(node.orelse, cst.Else):
        return node.with_changes(
            body=node.orelse.body, orelse=node.orelse.with_changes(body=node.body)
        )
    return None


@TRANSFORMS.register("drop_guard")
def _drop_guard(node: cst.CSTNode) -> Made:
    """An `if` without `else` is gone, with its body."""
    if isinstance(node, cst.If) and node.orelse is None:
        return cst.RemoveFromParent()
    return None


@TRANSFORMS.register("always_do")
def _always_do(node: cst.CSTNode) -> Made:
    """The body of an `if` without `else` runs whatever the condition says."""
    if isinstance(node, cst.If) and node.orelse is None:
        return node.with_changes(
            test=cst.Name("True"), whitespace_before_test=cst.SimpleWhitespace(" ")
        )
    return None


@TRANSFORMS.register("change_arithmetic")
def _change_arithmetic(node: cst.CSTNode) -> Made:
    """`+` becomes `-`, `*` becomes `//`, and so on; text is left alone."""
    if not isinstance(node, cst.BinaryOperation) or _is_text(node.left) or _is_text(node.right):
        return None
    other = _ARITHMETIC.get(type(node.operator))
    return None if other is None else node.with_changes(operator=other())


@TRANSFORMS.register("swap_operands")
def _swap_operands(node: cst.CSTNode) -> Made:
    """`a - b` becomes `b - a`, for operators that mind the order."""
    kinds = (cst.Subtract, cst.Divide, cst.FloorDivide, cst.Modulo, cst.Power)
    if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, kinds):
        return None
    return None if _is_text(node.left) else node.with_changes(left=node.right, right=node.left)


@TRANSFORMS.register("swap_connective")
def _swap_connective(node: cst.CSTNode) -> Made:
    """`and` becomes `or`, and the other way round."""
    if not isinstance(node, cst.BooleanOperation):
        return None
    other = cst.Or() if isinstance(node.operator, cst.And) else cst.And()
    return node.with_changes(operator=other)


@TRANSFORMS.register("drop_operand")
def _drop_operand(node: cst.CSTNode) -> Made:
    """`a and b` becomes `a`: a forgotten case."""
    return node.left if isinstance(node, cst.BooleanOperation) else None


@TRANSFORMS.register("drop_not")
def _drop_not(node: cst.CSTNode) -> Made:
    """`not a` becomes `a`."""
    is_not = isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not)
    if not is_not or not isinstance(node, cst.UnaryOperation):
        return None
    if isinstance(node.expression, (cst.BooleanOperation, cst.Comparison)) and not node.lpar:
        return node.expression
    return node.expression.with_changes(
        lpar=node.expression.lpar or node.lpar, rpar=node.expression.rpar or node.rpar
    )


@TRANSFORMS.register("shift_number")
def _shift_number(node: cst.CSTNode) -> Made:
    """A whole number is one too large."""
    if not isinstance(node, cst.Integer) or not node.value.isdigit():
        return None
    return node.with_changes(value=str(int(node.value) + 1))


@TRANSFORMS.register("flip_constant")
def _flip_constant(node: cst.CSTNode) -> Made:
    """`True` becomes `False`, and the other way round."""
    if isinstance(node, cst.Name) and node.value in ("True", "False"):
        return node.with_changes(value="False" if node.value == "True" else "True")
    return None


@TRANSFORMS.register("swap_arguments")
def _swap_arguments(node: cst.CSTNode) -> Made:
    """The first two positional arguments of a call change places."""
    if not isinstance(node, cst.Call) or len(node.args) < 2:
        return None
    first, second, *rest = node.args
    plain = all(arg.keyword is None and not arg.star for arg in (first, second))
    if not plain or first.value.deep_equals(second.value):
        return None
    swapped = first.with_changes(value=second.value), second.with_changes(value=first.value)
    return node.with_changes(args=[*swapped, *rest])


@TRANSFORMS.register("drop_keyword")
def _drop_keyword(node: cst.CSTNode) -> Made:
    """The last keyword argument of a call is forgotten."""
    if not isinstance(node, cst.Call) or not node.args or node.args[-1].keyword is None:
        return None
    kept = list(node.args[:-1])
    if kept:
        kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
    return node.with_changes(args=kept)


@TRANSFORMS.register("drop_statement")
def _drop_statement(node: cst.CSTNode) -> Made:
    """A call for its effect, or an assignment to an attribute or an item, is forgotten."""
    if not isinstance(node, cst.SimpleStatementLine):
        return None
    stored = m.Assign(targets=[m.AssignTarget(target=m.Subscript() | m.Attribute())])
    effect = m.Expr(m.Call()) | stored | m.AugAssign()
    return cst.RemoveFromParent() if m.matches(node.body[0], effect) else None


@TRANSFORMS.register("drop_iteration")
def _drop_iteration(node: cst.CSTNode) -> Made:
    """A `for` loop ends after its first round."""
    if not isinstance(node, cst.For) or not isinstance(node.body, cst.IndentedBlock):
        return None
    last = node.body.body[-1] if node.body.body else node
    if m.matches(last, m.SimpleStatementLine(body=[m.Return() | m.Raise() | m.Break()])):
        return None
    stop = cst.SimpleStatementLine(body=[cst.Break()])
    return node.with_changes(body=node.body.with_changes(body=[*node.body.body, stop]))


@TRANSFORMS.register("stop_for_skip")
def _stop_for_skip(node: cst.CSTNode) -> Made:
    """`continue` becomes `break`, and the other way round."""
    if isinstance(node, cst.Continue):
        return cst.Break(semicolon=node.semicolon)
    return cst.Continue(semicolon=node.semicolon) if isinstance(node, cst.Break) else None


@TRANSFORMS.register("forget_result")
def _forget_result(node: cst.CSTNode) -> Made:
    """`return value` becomes `return None`."""
    if not isinstance(node, cst.Return) or node.value is None:
        return None
    if m.matches(node.value, m.Name("None")):
        return None
    space = cst.SimpleWhitespace(" ")
    return node.with_changes(value=cst.Name("None"), whitespace_after_return=space)


@TRANSFORMS.register("swap_neighbours")
def _swap_neighbours(node: cst.CSTNode) -> Made:
    """The first two plain statements of a block that does not begin with a docstring change places."""
    if not isinstance(node, cst.IndentedBlock) or len(node.body) < 2:
        return None
    first, second, *rest = node.body
    simple = m.SimpleStatementLine(body=[m.Assign() | m.AugAssign() | m.Expr(m.Call())])
    if not (m.matches(first, simple) and m.matches(second, simple)):
        return None
    return node.with_changes(body=[second, first, *rest])


def _is_text(node: cst.BaseExpression) -> bool:
    return isinstance(node, (cst.SimpleString, cst.FormattedString, cst.ConcatenatedString))
