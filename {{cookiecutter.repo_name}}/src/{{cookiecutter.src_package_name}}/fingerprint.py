"""The source of a function, such that it changes when what the function computes does, and not when it is described."""

import ast
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any


def source_of(function: Callable[..., Any]) -> str:
    """Give a function's code and all that it uses of its own module, without comments, docstrings and formatting.

    Functions, constants and imports of the module are followed by name; what stands in other modules is not.
    """
    module = inspect.getmodule(function)
    assert module is not None, function
    known = dict(_definitions(module))
    waiting, used = [function.__name__], set[str]()
    while waiting:
        name = waiting.pop()
        if name in known and name not in used:
            used.add(name)
            waiting += [node.id for node in ast.walk(known[name]) if isinstance(node, ast.Name)]
    return "\n".join(ast.unparse(known[name]) for name in sorted(used))


def _definitions(module: ModuleType) -> Iterator[tuple[str, ast.stmt]]:
    """List what a module defines at its top level, by name."""
    for node in ast.parse(inspect.getsource(module)).body:
        match node:
            case ast.FunctionDef():
                yield node.name, _bare(node)
            case ast.ClassDef():
                yield node.name, node
            case ast.Assign(targets=targets):
                yield from ((target.id, node) for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, node
            case ast.Import(names=names):
                yield from ((alias.asname or alias.name, ast.Import([alias])) for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                yield from ((alias.asname or alias.name, ast.ImportFrom(source, [alias], level)) for alias in names)


def _bare(node: ast.FunctionDef) -> ast.FunctionDef:
    """Take off what a function does not compute with: its docstring and annotations."""
    if ast.get_docstring(node) is not None:
        node.body = node.body[1:] or [ast.Pass()]
    node.returns = None
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return node
