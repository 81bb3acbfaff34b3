"""The magics: parse a line, call the API, show the view."""

from __future__ import annotations

from typing import Any

from profkit.magics.cell import CellHooks
from profkit.magics.llmprofile import NAME, PARSER, LlmProfile


def register(shell: Any) -> None:
    """Add the magics and their hooks to an IPython shell; a second time changes nothing."""
    if CellHooks.of(shell) is not None:
        return
    shell.register_magics(LlmProfile)
    CellHooks(shell).install()
    shell.set_hook("complete_command", _complete, str_key=f"%{NAME}")
    shell.set_hook("complete_command", _complete, str_key=f"%%{NAME}")


def unregister(shell: Any) -> None:
    """Take them out again."""
    hooks = CellHooks.of(shell)
    if hooks is None:
        return
    hooks.remove()
    shell.magics_manager.registry.pop(LlmProfile.__name__, None)
    for magics in shell.magics_manager.magics.values():
        magics.pop(NAME, None)
    for key in (f"%{NAME}", f"%%{NAME}"):
        shell.strdispatchers["complete_command"].strs.pop(key, None)


def _complete(shell: Any, event: Any) -> list[str]:
    """Options of the magic that start like the word under the cursor."""
    return [option for option in PARSER.flags() if option.startswith(event.symbol)]
