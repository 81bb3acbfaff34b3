"""`%%llmprofile` on a cell without changing what the cell means.

The first line becomes a marker call, by a pure transformer of the text; the marker becomes the call that
starts the profile, by a transformer of the syntax tree; IPython's own events stop it. So IPython runs the
user's statements itself: the last value, top-level await, `%` and `!` lines, tracebacks, interrupts and
errors are as without the magic. `--repeat` repeats the statements in the tree.
"""

from __future__ import annotations

import argparse
import ast
import copy
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.getipython import get_ipython

from profkit.capture.clock import Stopwatch
from profkit.errors import OptionError, ProfkitError
from profkit.magics import llmprofile
from profkit.magics.options import HelpRequestedError
from profkit.run import Profile

_MARKER: Final = "__profkit_cell__"
_MAGIC: Final = f"%%{llmprofile.NAME}"


def mark(lines: list[str]) -> list[str]:
    """Replace a first line `%%llmprofile …` by the marker; any other cell is returned as it is."""
    if not lines:
        return lines
    magic, _, options = lines[0].rstrip("\n").partition(" ")
    if magic.rstrip() != _MAGIC or lines[0].rstrip().endswith("?"):
        return lines
    return [f"{_MARKER}({options.strip()!r})\n", *lines[1:]]


class _Unmark(ast.NodeTransformer):
    """Turns the marker into the calls that start the profile and, with --repeat, the passes before it."""

    def visit_Module(self, tree: ast.Module) -> ast.Module:  # noqa: N802 - named by ast
        line = _marked(tree)
        if line is None:
            return tree
        statements = tree.body[1:]
        body: list[ast.stmt] = []
        for _ in range(_passes(line)):
            body += [_call("begin_pass"), *copy.deepcopy(statements)]
        body.append(_call("begin", line))
        tree.body = body if _wants_help(line) else [*body, *statements]
        return ast.fix_missing_locations(tree)


def _marked(tree: ast.Module) -> str | None:
    """The options of a marked cell."""
    match tree.body:
        case [ast.Expr(ast.Call(ast.Name(name), [ast.Constant(str() as line)])), *_] if name == _MARKER:
            return line
    return None


def _call(function: str, *arguments: str) -> ast.stmt:
    """`profkit.magics.cell.function(...)`, by a name that no namespace needs to hold."""
    text = f"__import__({__name__!r}, fromlist=['*']).{function}({', '.join(map(repr, arguments))})"
    call = ast.parse(text).body[0]
    for node in ast.walk(call):
        if "lineno" in node._attributes:
            node.lineno = node.end_lineno = 1  # type: ignore[attr-defined]
            node.col_offset = node.end_col_offset = 0  # type: ignore[attr-defined]
    return call


def _passes(line: str) -> int:
    try:
        return int(llmprofile.parse(line)[0].repeat)
    except (OptionError, HelpRequestedError):
        return 0  # `begin` says what is wrong


def _wants_help(line: str) -> bool:
    try:
        llmprofile.parse(line)
    except HelpRequestedError:
        return True
    except OptionError:
        pass
    return False


def begin_pass() -> None:
    """Start timing an unprofiled pass of the cell."""
    _hooks().begin_pass()


def begin(line: str) -> None:
    """Start the profile of the running cell.

    Raises:
        UsageError: a wrong option, or a profiler is running already.
    """
    _hooks().begin(line)


class CellHooks:
    """The hooks of one shell, and the profile of the cell that runs in it."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._unmark = _Unmark()
        self._cell = ""
        self._depth = 0
        self._clear()

    def _clear(self) -> None:
        self._profile: Profile | None = None
        self._options: argparse.Namespace | None = None
        self._watch: Stopwatch | None = None
        self._passes_ns: list[int] = []

    @classmethod
    def of(cls, shell: Any) -> CellHooks | None:
        """The hooks of a shell, None where the extension is not loaded."""
        owners = (getattr(call, "__self__", None) for call in shell.events.callbacks["post_execute"])
        return next((owner for owner in owners if isinstance(owner, cls)), None)

    def install(self) -> None:
        """Put the hooks into the shell."""
        self._shell.input_transformers_cleanup.append(mark)
        self._shell.ast_transformers.append(self._unmark)
        for event, callback in self._callbacks():
            self._shell.events.register(event, callback)
        # First of all, so that what others do after a cell (drawing figures) is not counted to it.
        after = self._shell.events.callbacks["post_execute"]
        after.insert(0, after.pop())

    def remove(self) -> None:
        """Take them out."""
        self._shell.input_transformers_cleanup.remove(mark)
        self._shell.ast_transformers.remove(self._unmark)
        for event, callback in self._callbacks():
            self._shell.events.unregister(event, callback)

    def _callbacks(self) -> tuple[tuple[str, Any], ...]:
        return (
            ("pre_execute", self._pre_execute),
            ("pre_run_cell", self._pre_run_cell),
            ("post_execute", self._post_execute),
            ("post_run_cell", self._post_run_cell),
        )

    def begin_pass(self) -> None:
        """A pass before the profile begins; the one before it ends."""
        self._end_pass()
        self._watch = Stopwatch()

    def begin(self, line: str) -> None:
        """The profile begins."""
        self._end_pass()
        try:
            options, rest = llmprofile.parse(line)
            if rest:
                raise OptionError(f"{_MAGIC}: {rest!r} is no option; code goes below the first line")
            source = self._cell.partition("\n")[2] if self._cell.startswith(_MAGIC) else self._cell
            profile = llmprofile.make_profile(self._shell, options, source, self._passes_ns)
            self._warm_up()
            profile.__enter__()
        except HelpRequestedError as text:
            print(text)  # noqa: T201 - help is printed
            return
        except ProfkitError as error:
            raise UsageError(str(error)) from None
        self._profile, self._options, self._depth = profile, options, 0

    def _end_pass(self) -> None:
        if self._watch is not None:
            self._passes_ns.append(self._watch.stop())
            self._watch = None

    @staticmethod
    def _warm_up() -> None:
        """Load what the summary needs before the cell runs, not while someone waits for it."""
        import matplotlib.backends.backend_agg  # noqa: F401

        import profkit.views.summary  # noqa: F401

    def _pre_execute(self) -> None:
        if self._profile is not None and self._profile.ended:
            self._clear()  # that of a silent cell, which nobody sees
        self._depth += 1

    def _pre_run_cell(self, info: Any) -> None:
        if self._profile is None:
            self._clear()
            self._cell = (info.raw_cell or "").lstrip()

    def _post_execute(self) -> None:
        """A cell has ended, however it did: the profiled one, or one that it ran itself."""
        self._depth -= 1
        if self._profile is not None and self._depth < 0:
            self._profile.__exit__(None, None, None)

    def _post_run_cell(self, result: Any) -> None:
        profile, options = self._profile, self._options
        if profile is None or options is None or not profile.ended:
            return
        self._clear()
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            profile.run.meta.error = f"{type(error).__name__}: {error}"
        llmprofile.bind_and_show(self._shell, options, profile)


def _hooks() -> CellHooks:
    hooks = CellHooks.of(get_ipython())
    assert hooks is not None, "profkit's extension was unloaded while its cell ran"
    return hooks
