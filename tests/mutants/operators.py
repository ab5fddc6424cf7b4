"""The small changes that are made to a module, one at a time."""

from __future__ import annotations

import ast
import copy
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
BINARY = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
}  # fmt: skip
METHODS = {
    "mean": "sum", "sum": "mean", "argmax": "argmin", "argmin": "argmax", "min": "max",
    "max": "min", "softmax": "sigmoid", "square": "abs", "abs": "square", "sqrt": "square",
    "zeros": "ones", "ones": "zeros", "zeros_like": "ones_like", "ones_like": "zeros_like",
    "floor": "ceil", "ceil": "floor", "any": "all", "all": "any", "cos": "sin", "rand": "randn",
}  # fmt: skip
TRANSPARENT = {"detach", "exp", "log", "sigmoid", "clamp", "clamp_min", "norm", "neg", "round"}
"""Methods of a tensor that are left out: ``x.detach()`` becomes ``x``."""

SYMMETRIC = {"max", "min", "maximum", "minimum", "isinstance", "getattr", "logaddexp", "mse_loss"}
"""Functions whose arguments are not exchanged: nothing changes, or nothing runs."""


@dataclass(frozen=True)
class Mutant:
    """A changed module."""

    line: int
    change: str
    """Function, text before and text after; it names the mutant also after changes elsewhere."""
    source: str
    lines: range = range(0)
    """The lines of the statement that is changed, without those of its body."""
    at_import: bool = True
    """True if the change is outside of all functions' bodies: importing the module runs it."""


def mutants_of(source: str, most: int | None = None, seed: int = 0) -> list[Mutant]:
    """Return the mutants of a module's source by line: all, or a seeded sample of ``most``."""
    tree = ast.parse(source)
    _leave_out(tree)
    places = list(_places(tree))
    choices = [(i, c) for i, place in enumerate(places) for c in range(len(_changes(place)))]
    random.Random(seed).shuffle(choices)
    found: dict[str, Mutant] = {}
    for index, choice in choices:
        if most is not None and len(found) >= most:
            break
        changed = copy.deepcopy(tree)
        place = next(itertools.islice(_places(changed), index, None))
        before, line = ast.unparse(place), place.lineno  # type: ignore[attr-defined]
        new = _changes(place)[choice]
        lines, at_import = _reach(changed, place)
        _replace(changed, place, new)
        ast.fix_missing_locations(changed)
        after = "(left out)" if isinstance(new, ast.Pass) else ast.unparse(new)
        text = f"{_owner(tree, line)}: {_short(before)} -> {_short(after)}"
        try:
            whole = ast.unparse(changed)
            compile(whole, "mutant", "exec")
        except (SyntaxError, ValueError):
            continue
        if before != after:
            found.setdefault(text, Mutant(line, text, whole, lines, at_import))
    return sorted(found.values(), key=lambda mutant: (mutant.line, mutant.change))


def _reach(tree: ast.AST, place: ast.AST) -> tuple[range, bool]:
    """Return the lines of the statement around a node, and True if importing the module runs it."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    node, statement, at_import = place, None, True
    while node in parents:
        if statement is None and isinstance(node, ast.stmt):
            statement = node
        parent = parents[node]
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)):
            at_import = at_import and node not in parent.body
        elif isinstance(parent, ast.Lambda):
            at_import = at_import and node is not parent.body
        node = parent
    assert statement is not None
    body = getattr(statement, "body", None)
    end = body[0].lineno if body else (statement.end_lineno or statement.lineno) + 1
    return range(statement.lineno, max(end, statement.lineno + 1)), at_import


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:77] + "..."


def _owner(tree: ast.AST, line: int) -> str:
    """Return the qualified name of the function or class around a line."""
    names = []
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        if node.lineno <= line <= (node.end_lineno or line):
            names.append((node.lineno, node.name))
    return ".".join(name for _, name in sorted(names)) or "module"


def _leave_out(tree: ast.AST) -> None:
    """Mark what no test should have to notice: texts, errors' wording, types, ``__all__``."""
    for node in ast.walk(tree):
        skipped: list[ast.AST | None] = []
        if isinstance(node, ast.Raise):
            skipped = [node]
        elif isinstance(node, ast.arg):
            skipped = [node.annotation]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            skipped = [node.returns, *node.decorator_list]
        elif isinstance(node, ast.ClassDef):
            skipped = [*node.decorator_list, *node.bases]
        elif isinstance(node, ast.AnnAssign):
            skipped = [node.annotation]
        elif (
            isinstance(node, ast.JoinedStr)
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
            or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
        ):
            skipped = [node]
        for part in skipped:
            for inner in ast.walk(part) if part is not None else ():
                inner.left_out = True  # type: ignore[attr-defined]


def _places(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that can change, always in the same order."""
    for node in ast.walk(tree):
        if not getattr(node, "left_out", False) and _changes(node):
            yield node


def _changes(node: ast.AST) -> list[ast.AST]:
    """Return the changed versions of a node."""
    changes: list[ast.AST] = []

    def add(**fields: object) -> None:
        new = copy.copy(node)
        for name, value in fields.items():
            setattr(new, name, value)
        changes.append(new)

    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARE:
        add(ops=[COMPARE[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in BINARY:
        if not (isinstance(node, ast.BinOp) and _is_text(node)):
            add(op=BINARY[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        changes.append(node.operand)
    elif isinstance(node, ast.BoolOp):
        add(op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            add(value=not node.value)
        elif isinstance(node.value, int):
            add(value=node.value + 1)
        elif isinstance(node.value, float):
            add(value=node.value * 2 if node.value else 1.0)
    elif isinstance(node, ast.IfExp):
        add(body=node.orelse, orelse=node.body)
    elif isinstance(node, (ast.If, ast.While)):
        add(test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        changes.append(ast.copy_location(ast.Pass(), node))
    elif isinstance(node, ast.Call):
        changes += _calls(node)
    if isinstance(node, ast.AugAssign):
        changes.append(ast.copy_location(ast.Pass(), node))
    return changes


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(
        isinstance(s, ast.JoinedStr) or (isinstance(s, ast.Constant) and isinstance(s.value, str))
        for s in sides
    )


def _calls(node: ast.Call) -> list[ast.AST]:
    changes: list[ast.AST] = []
    function = node.func
    if isinstance(function, ast.Attribute):
        if function.attr in METHODS:
            other = ast.Attribute(function.value, METHODS[function.attr], function.ctx)
            changes.append(ast.copy_location(ast.Call(other, node.args, node.keywords), node))
        of_module = isinstance(function.value, ast.Name) and bool(node.args)  # torch.exp(x)
        if function.attr in TRANSPARENT and not of_module:
            changes.append(function.value)
    plain = [a for a in node.args if not isinstance(a, ast.Starred)]
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if (
        len(plain) == len(node.args) == 2
        and name not in SYMMETRIC
        and ast.unparse(plain[0]) != ast.unparse(plain[1])
    ):
        swapped = [plain[1], plain[0], *plain[2:]]
        changes.append(ast.copy_location(ast.Call(function, swapped, node.keywords), node))
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            rest = node.keywords[:index] + node.keywords[index + 1 :]
            changes.append(ast.copy_location(ast.Call(function, node.args, rest), node))
    return changes


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    """Put ``new`` in the place of ``old``."""
    ast.copy_location(new, old)
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list):
                for index, each in enumerate(value):
                    if each is old:
                        value[index] = new
                        return
