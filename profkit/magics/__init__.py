"""The magics: parse a line, call the API, show the view."""

from __future__ import annotations

from typing import Any

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from profkit.magics.cell import CellHooks
from profkit.magics.llmprofile import NAME, PARSER, LlmProfile


def register(shell: Any) -> None:
    """Add the magics and their hooks to an IPython shell; a second time changes nothing."""
    if CellHooks.of(shell) is not None:
        return
    shell.register_magics(LlmProfile)
    CellHooks(shell).install()
    shell.Completer.custom_matchers.append(_complete)


def unregister(shell: Any) -> None:
    """Take them out again."""
    hooks = CellHooks.of(shell)
    if hooks is None:
        return
    hooks.remove()
    shell.magics_manager.registry.pop(LlmProfile.__name__, None)
    for magics in shell.magics_manager.magics.values():
        magics.pop(NAME, None)
    shell.Completer.custom_matchers.remove(_complete)


@context_matcher()  # type: ignore[untyped-decorator]
def _complete(context: CompletionContext) -> SimpleMatcherResult:
    """Options of the magic that start like the word under the cursor, and then nothing else."""
    command = context.line_with_cursor.split(None, 1)[:1]
    here = command in ([f"%{NAME}"], [f"%%{NAME}"]) and context.token.startswith("-")
    found = [SimpleCompletion(option) for option in PARSER.flags() if option.startswith(context.token)]
    return {"completions": found if here else [], "suppress": here}
