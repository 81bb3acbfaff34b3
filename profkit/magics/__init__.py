"""The magics: parse a line, call the API, show the view."""

from __future__ import annotations

from typing import Any

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from profkit.magics import llmkv, llmprofile, llmsweep
from profkit.magics.cell import CellHooks

MAGICS = {module.NAME: module for module in (llmkv, llmprofile, llmsweep)}
"""Each has a NAME, a PARSER of its line, and MAGIC, the class that IPython registers."""


def register(shell: Any) -> None:
    """Add the magics and their hooks to an IPython shell; a second time changes nothing."""
    if CellHooks.of(shell) is not None:
        return
    for module in MAGICS.values():
        shell.register_magics(module.MAGIC)
    CellHooks(shell).install()
    shell.Completer.custom_matchers.append(_complete)


def unregister(shell: Any) -> None:
    """Take them out again."""
    hooks = CellHooks.of(shell)
    if hooks is None:
        return
    hooks.remove()
    for name, module in MAGICS.items():
        shell.magics_manager.registry.pop(module.MAGIC.__name__, None)
        for magics in shell.magics_manager.magics.values():
            magics.pop(name, None)
    shell.Completer.custom_matchers.remove(_complete)


@context_matcher()  # type: ignore[untyped-decorator]
def _complete(context: CompletionContext) -> SimpleMatcherResult:
    """Options of the magic that start like the word under the cursor, and then nothing else."""
    command = (context.line_with_cursor.split(None, 1) or [""])[0]
    module = MAGICS.get(command.lstrip("%")) if command.startswith("%") else None
    if module is None or not context.token.startswith("-"):
        return {"completions": [], "suppress": False}
    found = [SimpleCompletion(option) for option in module.PARSER.flags() if option.startswith(context.token)]
    return {"completions": found, "suppress": True}
