"""What is changed in a module, one place at a time: comparisons, operators, numbers, conditions; what is returned or raised."""

from __future__ import annotations

import ast
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

PAIRS: tuple[tuple[type[ast.AST], type[ast.AST]], ...] = (
    (ast.Lt, ast.LtE),
    (ast.Gt, ast.GtE),
    (ast.Eq, ast.NotEq),
    (ast.Is, ast.IsNot),
    (ast.In, ast.NotIn),
    (ast.And, ast.Or),
    (ast.Add, ast.Sub),
    (ast.BitOr, ast.BitAnd),
    (ast.LShift, ast.RShift),
    (ast.Break, ast.Continue),
)
OTHER: dict[type[ast.AST], Any] = {one: other for pair in PAIRS for one, other in (pair, pair[::-1])}
OTHER |= {
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitXor: ast.BitAnd,
}
# What only readers of the source see.
SILENT = frozenset({"annotation", "returns", "decorator_list", "format_spec"})

# These are changed themselves.
CONDITIONS = (ast.Compare, ast.BoolOp, ast.UnaryOp)

Field = tuple[ast.AST, str, int | None]


@dataclass(frozen=True)
class Change:
    """One change: the place of the node among all that are walked over, and what becomes of it."""

    file: Path
    number: int
    line: int
    what: str

    def __str__(self) -> str:
        return f"{os.path.relpath(self.file)}:{self.line}: {self.what} (#{self.number})"


def changes(file: Path) -> list[Change]:
    """List the changes of what functions of a file do; what is done once, where it is loaded, stays."""
    found = enumerate(_places(ast.parse(file.read_bytes()), inside=False))
    return [Change(file, number, new.lineno, what) for number, (_, new, what) in found]


def _places(tree: ast.AST, inside: bool) -> Iterator[tuple[Field, ast.expr | ast.stmt, str]]:
    is_function = isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for name, value in ast.iter_fields(tree):
        if name in SILENT:
            continue
        within = inside or (is_function and name == "body")
        for at, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if within and isinstance(node, ast.expr | ast.stmt):
                yield from (((tree, name, at), new, what) for new, what in _others(node))
            if isinstance(node, ast.AST):
                yield from _places(node, within)


def _others(node: ast.expr | ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """What stands instead of a node."""

    def instead(new: ast.expr | ast.stmt, what: str) -> tuple[ast.expr | ast.stmt, str]:
        return ast.fix_missing_locations(ast.copy_location(new, node)), what

    match node:
        case ast.Compare(left, ops, comparators):
            for at, op in enumerate(ops):
                other = OTHER[type(op)]()
                yield instead(
                    ast.Compare(left, [*ops[:at], other, *ops[at + 1 :]], comparators), type(op).__name__
                )
        case ast.BoolOp(op, values):
            yield instead(ast.BoolOp(OTHER[type(op)](), values), type(op).__name__)
        case ast.BinOp(left, op, right) if type(op) in OTHER and not _is_text(left) and not _is_text(right):
            yield instead(ast.BinOp(left, OTHER[type(op)](), right), type(op).__name__)
        case ast.AugAssign(target, op, value):
            yield instead(ast.AugAssign(target, OTHER[type(op)](), value), type(op).__name__)
        case ast.UnaryOp(ast.Not(), operand):
            yield instead(operand, "not gone")
        case ast.Constant(bool() as truth):
            yield instead(ast.Constant(not truth), f"{truth}")
        case ast.Constant(int() as number):
            yield instead(ast.Constant(number + 1), f"{number} + 1")
        case ast.If(test, body, orelse) if not isinstance(test, CONDITIONS):
            yield instead(ast.If(ast.UnaryOp(ast.Not(), test), body, orelse), "if not")
        case ast.IfExp(test, chosen, otherwise) if not isinstance(test, CONDITIONS):
            yield instead(ast.IfExp(ast.UnaryOp(ast.Not(), test), chosen, otherwise), "if not")
        case ast.Return(ast.expr() as value) if not isinstance(value, ast.Constant):
            yield instead(ast.Return(ast.Constant(None)), "return None")
        case ast.Expr(ast.Call()) | ast.Raise():
            yield instead(ast.Pass(), "gone")
        case ast.Break() | ast.Continue():
            yield instead(OTHER[type(node)](), type(node).__name__)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def exchange(change: Change) -> bool:
    """Let all functions that there are by now do what the change says; `False` where none of them does anything else."""
    tree = ast.parse(change.file.read_bytes())
    before = dict(_codes(compile(tree, str(change.file), "exec", dont_inherit=True)))
    for number, ((parent, name, at), new, _) in enumerate(_places(tree, inside=False)):
        if number == change.number:
            if at is None:
                setattr(parent, name, new)
            else:
                getattr(parent, name)[at] = new
            break
    after = dict(_codes(compile(tree, str(change.file), "exec", dont_inherit=True)))
    exchanged = False
    gc.unfreeze()
    for function in [one for one in gc.get_objects() if type(one) is FunctionType]:
        old = function.__code__
        place = old.co_qualname, old.co_firstlineno
        if old.co_filename != str(change.file) or after.get(place, old) == before.get(place, old):
            continue
        if after[place].co_freevars == old.co_freevars:
            function.__code__ = after[place]
            exchanged = True
    return exchanged


def _codes(code: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield (one.co_qualname, one.co_firstlineno), one
            yield from _codes(one)
