"""Can a function be called at the points of a grid, which models does it use, and how are its tokens counted?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from profkit.capture.discover import modules_behind
from profkit.errors import OptionError, nearest


def check_takes(fn: Callable[..., Any], axes: Sequence[str]) -> None:
    """Refuse axes that `fn` cannot be called with as keyword arguments.

    Raises:
        OptionError: it takes no such argument, or needs another one.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # some builtins do not tell
        return
    parameters = signature.parameters.values()
    takes = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    called = getattr(fn, "__name__", type(fn).__name__)
    for axis in axes:
        if axis not in takes and not takes_any:
            raise OptionError(f"{called} takes no argument {axis!r}{nearest(axis, takes)}")
    for parameter in parameters:
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if needed and parameter.name not in axes:
            raise OptionError(f"{called} needs an argument {parameter.name!r}, which is no axis of the sweep")


def named_modules(model: Any, values: Sequence[Any]) -> list[Any]:
    """The nn.Modules that `model` gives, one or several; where it is None those behind `values`.

    Raises:
        OptionError: `model` is something else.
    """
    if model is None:
        return modules_behind(values)
    given = list(model) if isinstance(model, list | tuple) else [model]
    for module in given:
        if not hasattr(module, "register_forward_hook"):
            raise OptionError(f"model is an nn.Module or a list of them, not {type(module).__name__}")
    return given


def counter(
    tokens: Callable[..., int] | str | None, axes: Sequence[str], namespace: Mapping[str, Any]
) -> Callable[[Any, Mapping[str, Any]], int] | None:
    """How to count a run's new tokens, from what it returned and the axes.

    Raises:
        OptionError: an expression that is no Python, or what is neither that nor a function.
    """
    if tokens is None:
        return None
    if isinstance(tokens, str):
        try:
            code = compile(tokens, "<tokens>", "eval")
        except SyntaxError as error:
            raise OptionError(f"tokens={tokens!r} is no expression: {error.msg}") from error
        return lambda result, values: eval(code, {**namespace, **values, "result": result})  # noqa: S307 - their own
    if not callable(tokens):
        raise OptionError(f"tokens is a function or an expression, not {tokens!r}")
    named = _named(tokens, axes)
    return lambda result, values: tokens(result, **{axis: values[axis] for axis in named})


def _named(tokens: Callable[..., int], axes: Sequence[str]) -> list[str]:
    """Axes that the function takes beside the result."""
    try:
        parameters = list(inspect.signature(tokens).parameters.values())
    except (TypeError, ValueError):
        return []
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return [axis for axis in axes if takes_any or axis in {parameter.name for parameter in parameters[1:]}]
