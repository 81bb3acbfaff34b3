"""Which models does a piece of code use: nn.Modules that it names, or that functions it names use."""

from __future__ import annotations

import ast
import functools
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_DEPTH: Final = 3
"""How many calls deep functions of the user are followed: cell → run() → decode() → model."""
_MAGIC_CALLS: Final = ("run_line_magic", "run_cell_magic", "system", "getoutput")
"""What IPython turns `%` and `!` lines into: methods of the shell that are given the line as text."""
_MAX_ATTRIBUTES: Final = 200
"""An object with more attributes is a container of data, not a pipeline around a model."""


def modules_in(code: str, namespace: Mapping[str, Any]) -> list[Any]:
    """The nn.Modules that `code` refers to, in order of first sight, each once.

    Found are: names (`model`), attributes (`pipe.model`), objects that hold a module (`pipe`), and the
    globals, closures and owners of functions that the code names. Nothing is executed: attributes are
    looked up in instance dictionaries, so no property runs.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return []
    found: dict[int, Any] = {}
    for value in _referenced(tree, namespace):
        for module in _modules_of(value, torch.nn.Module, _DEPTH, set()):
            found.setdefault(id(module), module)
    return list(found.values())


def modules_behind(values: Iterable[Any]) -> list[Any]:
    """The nn.Modules that these objects are, hold, or, being functions, name; in order, each once."""
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    found = (module for value in values for module in _modules_of(value, torch.nn.Module, _DEPTH, set()))
    return list({id(module): module for module in found}.values())


def names_in(code: str, namespace: Mapping[str, Any]) -> set[str]:
    """Names that `code` reads, and the globals that functions of the user that it names read.

    Words in the text of its magics (`%time f(batch)`) count too.

    Raises:
        SyntaxError: it is no Python.
    """
    tree = ast.parse(code)
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MAGIC_CALLS:
            texts = [part.value for part in node.args if isinstance(part, ast.Constant)]
            found.update(word for text in texts if isinstance(text, str) for word in re.findall(r"\w+", text))
    called = [*_referenced(tree, namespace), *map(namespace.get, found)]
    return found.union(*(_globals_of(value, _DEPTH) for value in called))


def _globals_of(value: Any, depth: int) -> set[str]:
    """Globals that a function of the user reads, and the functions that it names."""
    value = getattr(value, "__func__", value)
    if depth <= 0 or not isinstance(value, types.FunctionType) or _is_library(value):
        return set()
    names = set(_global_names(value.__code__))
    return names.union(*(_globals_of(value.__globals__.get(name), depth - 1) for name in names))


def _referenced(tree: ast.AST, namespace: Mapping[str, Any]) -> Iterator[Any]:
    """Values of the names and attribute chains in the code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            value = _resolve(node, namespace)
            if value is not None:
                yield value


def _resolve(node: ast.AST, namespace: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return namespace.get(node.id)
    if isinstance(node, ast.Attribute):
        return _attribute(_resolve(node.value, namespace), node.attr)
    return None


def _attribute(owner: Any, name: str) -> Any:
    own = _dict(owner)
    return own[name] if name in own else own.get("_modules", {}).get(name)


def _dict(value: Any) -> dict[str, Any]:
    """The instance dictionary, read without running the object's own code."""
    try:
        own = object.__getattribute__(value, "__dict__")
    except (AttributeError, TypeError):
        return {}
    return own if isinstance(own, dict) else {}


def _modules_of(value: Any, module_type: type, depth: int, seen: set[int]) -> Iterator[Any]:
    if depth < 0 or id(value) in seen or isinstance(value, type | types.ModuleType):
        return
    seen.add(id(value))
    if isinstance(value, module_type):
        yield value
    elif isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _modules_of(part, module_type, depth, seen)
    elif isinstance(value, types.MethodType):
        yield from _modules_of(value.__self__, module_type, depth, seen)
        yield from _modules_of(value.__func__, module_type, depth, seen)
    elif isinstance(value, types.FunctionType):
        if _is_library(value):
            return
        wrapped = getattr(value, "__wrapped__", None)
        parts = [value.__globals__.get(name) for name in _global_names(value.__code__)]
        parts += [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        parts += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values(), wrapped]
        for part in parts:
            yield from _modules_of(part, module_type, depth - 1, seen)
    else:
        own = _dict(value)
        if 0 < len(own) <= _MAX_ATTRIBUTES:
            yield from (part for part in own.values() if isinstance(part, module_type))


def _global_names(code: types.CodeType) -> Iterator[str]:
    """Globals that the code names, also in its comprehensions, lambdas and inner functions."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _global_names(part)


def _is_library(function: types.FunctionType) -> bool:
    """Functions of installed packages are not followed: their globals are not the user's."""
    return "site-packages" in function.__code__.co_filename or function.__module__ in sys.stdlib_module_names


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it is the test
    except ValueError:
        return False
    return True


def modules_of_frame(frame: types.FrameType) -> list[Any]:
    """The nn.Modules that the code running in `frame` names, by its local and global variables."""
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    found: dict[int, Any] = {}
    code = frame.f_code
    names = (*_global_names(code), *code.co_varnames, *code.co_cellvars, *code.co_freevars)
    namespace = {**frame.f_globals, **frame.f_locals}
    for value in (namespace.get(name) for name in names):
        for module in _modules_of(value, torch.nn.Module, _DEPTH, set()):
            found.setdefault(id(module), module)
    return list(found.values())
