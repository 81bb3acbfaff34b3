"""`%%llmprofile` on a cell without changing what the cell means.

The first line becomes the same text as a string, by a pure transformer of the text: a docstring, so that
`from __future__` may follow it and that In[n] and tracebacks show what the user wrote. The string becomes
the call that starts the profile, by a transformer of the syntax tree; IPython's own events stop it. So
IPython runs the user's statements itself: the last value, top-level await, `%` and `!` lines, tracebacks,
interrupts and errors are as without the magic. `--repeat` repeats the statements in the tree.
"""

from __future__ import annotations

import argparse
import ast
import copy
import threading
from collections.abc import Callable
from typing import Any, Final

from IPython.core.getipython import get_ipython
from IPython.core.inputtransformer2 import cell_magic

from profkit.capture.clock import Stopwatch
from profkit.errors import OptionError, ProfilerBusyError
from profkit.magics import llmprofile
from profkit.magics.options import HelpRequestedError, usage_errors
from profkit.run import Profile

_MAGIC: Final = f"%%{llmprofile.NAME}"


def mark(lines: list[str]) -> list[str]:
    """Quote a first line `%%llmprofile …`; any other cell is returned as it is."""
    if not lines or not _is_magic(lines[0]) or lines[0].rstrip().endswith("?"):
        return lines
    body = lines[1:]
    inner = "".join(body).lstrip()
    if inner.startswith("%%"):
        body = cell_magic(inner.splitlines(keepends=True))
    return [f"{lines[0].strip()!r}\n", *body]


# Where one types line by line, IPython asks whether a cell is complete, and leaves these transformers out:
# it then sees the `%%` and waits for the cell's body.
mark.has_side_effects = True  # type: ignore[attr-defined]


def _is_magic(line: str) -> bool:
    return line.split(None, 1)[:1] == [_MAGIC]


class _Unmark(ast.NodeTransformer):
    """Turns the quoted line into the call that starts the profile, after the passes that --repeat wants."""

    def visit_Module(self, tree: ast.Module) -> ast.Module:
        line = _marked(tree)
        if line is None:
            return tree
        try:
            passes = int(llmprofile.parse(line)[0].repeat)
        except (OptionError, HelpRequestedError):
            tree.body = [_call("prepare", line)]  # which says what is wrong, or helps
            return ast.fix_missing_locations(tree)
        statements = tree.body[1:]
        body: list[ast.stmt] = [_call("prepare", line)]
        for _ in range(passes):
            body += [_call("begin_pass"), *(_Unseen().visit(copy.deepcopy(node)) for node in statements)]
        if statements and isinstance(statements[-1], ast.Expr):
            statements[-1] = _ended_by(statements[-1])
        tree.body = [*body, _call("begin"), *statements]
        return ast.fix_missing_locations(tree)


class _Unseen(ast.NodeTransformer):
    """Values of an unprofiled pass are not shown, also where the shell shows every expression's."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        hidden = ast.Tuple([node.value, ast.Constant(None)], ast.Load())
        return ast.copy_location(ast.Expr(ast.Subscript(hidden, ast.Constant(1), ast.Load())), node)

    def visit_FunctionDef(self, node: ast.AST) -> ast.AST:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AST) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.AST) -> ast.AST:
        return node


def _marked(tree: ast.Module) -> str | None:
    """The options of a quoted first line."""
    match tree.body:
        case [ast.Expr(ast.Constant(str() as text)), *_] if _is_magic(text):
            return text.removeprefix(_MAGIC).strip()
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


def _ended_by(last: ast.Expr) -> ast.Expr:
    """The expression as argument of `end`: showing its value is not counted to the cell."""
    statement = _call("end")
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    statement.value.args = [last.value]
    for node in (statement, statement.value):
        ast.copy_location(node, last)
    return statement


def prepare(line: str) -> None:
    """Check the options, before anything of the cell runs.

    Raises:
        UsageError: an option is wrong, or this cell is profiled already.
    """
    _hooks().prepare(line)


def begin_pass() -> None:
    """Start timing an unprofiled pass of the cell."""
    _hooks().begin_pass()


def begin() -> None:
    """Start the profile of the running cell.

    Raises:
        UsageError: a profiler is running already.
    """
    _hooks().begin()


def end(value: Any) -> Any:
    """The cell's last value is there; returns it."""
    hooks = CellHooks.of(get_ipython())
    if hooks is not None:  # else the cell unloaded the extension, which ended the profile
        hooks.block_ended()
    return value


class CellHooks:
    """The hooks of one shell, and the profile of the cell that runs in it."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._unmark = _Unmark()
        self._thread = threading.get_ident()
        self._depth = 0
        self._seen: Any = None
        self._unwatch: Callable[[], None] | None = None
        self._clear()

    def _clear(self) -> None:
        self._leave_tracebacks()
        self._profile: Profile | None = None
        self._options: argparse.Namespace | None = None
        self._source = ""
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
        self._shell.ast_transformers.insert(0, self._unmark)  # it looks for the first statement as typed
        for event, callback in self._callbacks():
            self._shell.events.register(event, callback)
        # First of all, so that what others do after a cell (drawing figures) is not counted to it.
        after = self._shell.events.callbacks["post_execute"]
        after.insert(0, after.pop())

    def remove(self) -> None:
        """Take them out; a profile that runs ends."""
        self._shell.input_transformers_cleanup.remove(mark)
        self._shell.ast_transformers.remove(self._unmark)
        for event, callback in self._callbacks():
            self._shell.events.unregister(event, callback)
        if self._open:
            self._end()

    def _callbacks(self) -> tuple[tuple[str, Any], ...]:
        return (
            ("pre_execute", self._pre_execute),
            ("post_execute", self._post_execute),
            ("post_run_cell", self._post_run_cell),
        )

    @property
    def _open(self) -> bool:
        """Whether a cell with the magic runs: an unprofiled pass of it, or the profile."""
        return self._options is not None and not (self._profile is not None and self._profile.ended)

    def prepare(self, line: str) -> None:
        """A cell with the magic begins."""
        with usage_errors():
            if self._open:
                raise ProfilerBusyError(f"{_MAGIC} in a cell that is profiled already: leave out the inner one")
            self._clear()
            try:
                options, rest = llmprofile.parse(line)
            except HelpRequestedError as text:
                print(text)  # noqa: T201 - help is printed
                return
            if rest:
                raise OptionError(f"{_MAGIC}: {rest!r} is no option; code goes below the first line")
            source = _below_magic(llmprofile.raw_cell(self._shell))
            self._warm_up()
            if options.repeat:
                llmprofile.make_profile(self._shell, options, source, [])  # wrong ones do not wait for a pass
        self._options, self._source = options, source
        self._depth, self._thread = 0, threading.get_ident()

    def begin_pass(self) -> None:
        """A pass before the profile begins; the one before it ends."""
        self._end_pass()
        self._watch = Stopwatch()

    def begin(self) -> None:
        """The profile begins."""
        assert self._options is not None
        self._end_pass()
        with usage_errors():
            profile = llmprofile.make_profile(self._shell, self._options, self._source, self._passes_ns)
            profile.__enter__()
        self._profile = profile
        self._watch_tracebacks()

    def block_ended(self) -> None:
        """What the shell does from here on, showing a value or a traceback, is not the cell's time."""
        if self._profile is not None and self._depth == 0 and threading.get_ident() == self._thread:
            self._profile.block_ended()

    def _watch_tracebacks(self) -> None:
        """Rendering a traceback takes the shell up to seconds, and no event comes before it."""
        own = vars(self._shell).get("showtraceback")
        shown = self._shell.showtraceback

        def showtraceback(*args: Any, **kwargs: Any) -> Any:
            if kwargs.get("running_compiled_code") or kwargs.get("exception_only"):
                self.block_ended()
            return shown(*args, **kwargs)

        def restore() -> None:
            if own is None:
                del self._shell.showtraceback
            else:
                self._shell.showtraceback = own

        self._shell.showtraceback = showtraceback
        self._unwatch = restore

    def _leave_tracebacks(self) -> None:
        unwatch, self._unwatch = self._unwatch, None
        if unwatch is not None:
            unwatch()

    def _end_pass(self) -> None:
        if self._watch is not None:
            self._passes_ns.append(self._watch.stop())
            self._watch = None

    @staticmethod
    def _warm_up() -> None:
        """Load what the summary needs before the cell runs, not while someone waits for it."""
        import profkit.views.picture
        import profkit.views.summary  # noqa: F401

    def _end(self) -> None:
        if self._profile is None:
            return self._clear()  # it did not come to the profile
        self._leave_tracebacks()
        try:
            self._profile.__exit__(None, None, None)
        except BaseException:
            self._clear()  # an interrupt while the record was made: there is none to show
            raise

    def _pre_execute(self) -> None:
        if threading.get_ident() == self._thread:  # a widget's message may come in on another
            self._depth += 1

    def _post_execute(self) -> None:
        """A cell has ended, however it did: the profiled one, or one that it ran itself."""
        if threading.get_ident() != self._thread or self._was_empty():
            return
        self._depth -= 1
        if self._open and self._depth < 0:
            self._end()

    def _was_empty(self) -> bool:
        """Whether the cell that ended was an empty one, whose start IPython does not announce."""
        before, self._seen = self._seen, self._shell.last_execution_result
        return self._seen is not before and not (self._seen.info.raw_cell or "").strip()

    def _post_run_cell(self, result: Any) -> None:
        profile, options = self._profile, self._options
        if profile is None or options is None or not profile.ended:
            return
        self._clear()
        error = None if result is None else result.error_before_exec or result.error_in_exec
        llmprofile.bind_and_show(self._shell, options, profile, error)


def _below_magic(cell: str) -> str:
    """The code of a cell without its first line, if that is ours."""
    text = cell.lstrip()
    return text.partition("\n")[2] if _is_magic(text.partition("\n")[0]) else cell


def _hooks() -> CellHooks:
    hooks = CellHooks.of(get_ipython())
    assert hooks is not None, "profkit's extension was unloaded while its cell ran"
    return hooks
