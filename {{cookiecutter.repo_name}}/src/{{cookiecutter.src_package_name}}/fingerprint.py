"""The source of a function, such that it changes when what the function computes does, and not when it is described."""

import ast
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import resolve_name
from types import ModuleType
from typing import Any


def source_of(function: Callable[..., Any]) -> str:
    """Give a function's code and all that it uses of this package, without comments, docstrings and annotations.

    Functions, constants and imports are followed by name, into other modules of the package as well; what stands in
    other packages is not. Every version of Python gives the same text for the same code.
    """
    module = inspect.getmodule(function)
    assert module is not None, function
    waiting = [(module.__name__, function.__name__)]
    used: dict[tuple[str, str], list[ast.stmt]] = {}
    while waiting:
        place, name = waiting.pop()
        if (place, name) not in used:
            used[place, name] = _known(place).get(name, [])
            for statement in used[place, name]:
                waiting += [*((place, each) for each in _names(statement)), *_imported(statement, place)]
    return "\n".join(_written(statement) for each in sorted(used) for statement in used[each])


def _imported(statement: ast.stmt, place: str) -> Iterator[tuple[str, str]]:
    """List what an import takes from a module of the same package, by module and name; of a whole module, all."""
    match statement:
        case ast.ImportFrom(module=source, names=[alias], level=level):
            other = resolve_name("." * level + (source or ""), import_module(place).__package__)
            whole = f"{other}.{alias.name}"
        case ast.Import(names=[alias]):
            other = whole = alias.name
        case _:
            return
    if other.partition(".")[0] != place.partition(".")[0]:
        return
    if other != whole and not isinstance(getattr(import_module(other), alias.name), ModuleType):
        yield other, alias.name
    else:
        yield from ((whole, name) for name in _known(whole))


@cache
def _known(place: str) -> dict[str, list[ast.stmt]]:
    """Give what a module defines, by name."""
    known: dict[str, list[ast.stmt]] = {}
    for name, statement in _definitions(import_module(place)):
        known.setdefault(name, []).append(statement)
    return known


def _definitions(module: ModuleType) -> Iterator[tuple[str, ast.stmt]]:
    """List what a module defines at its top level, by name; a name may be defined by several statements."""
    for node in ast.parse(inspect.getsource(module)).body:
        bare = _Bare().visit(node)
        match bare:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, bare
            case ast.Assign(targets=targets):
                yield from ((name, bare) for target in targets for name in _names(target))
            case ast.AugAssign(target=target):
                yield from ((name, bare) for name in _names(target))
            case ast.Import(names=names):
                yield from ((alias.asname or alias.name.split(".")[0], ast.Import([alias])) for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                yield from ((alias.asname or alias.name, ast.ImportFrom(source, [alias], level)) for alias in names)
            case _:  # a loop, a condition or a call may change whatever it names
                yield from ((name, bare) for name in _names(bare))


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


class _Bare(ast.NodeTransformer):
    """Takes off what nothing is computed with: docstrings, and annotations other than those of a class's fields."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return ast.Pass() if node.value is None else ast.Assign([node.target], node.value)


def _written(node: Any) -> str:
    """Write a syntax tree down; ast.unparse and ast.dump write some trees otherwise in Python 3.12 than in 3.11."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 puts empty texts into some f-strings
        return f"JoinedStr({', '.join(_written(part) for part in node.values if getattr(part, 'value', None) != '')})"
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "kind"]
        return f"{type(node).__name__}({', '.join(f'{name}={_written(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_written, node))}]"
    return repr(node)
