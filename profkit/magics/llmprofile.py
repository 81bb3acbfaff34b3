"""`%%llmprofile` and `%llmprofile`: profile a cell or a statement and show what took the time."""

from __future__ import annotations

import argparse
import ast
import builtins
import keyword
from types import NoneType
from typing import Any, Final

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from profkit.capture.session import described
from profkit.capture.telemetry import MAX_HZ
from profkit.errors import OptionError, ProfkitError
from profkit.magics.options import HelpRequestedError, OptionParser, positive, usage_errors
from profkit.run import Profile, Run

NAME: Final = "llmprofile"
FOLDER: Final = "profkit-runs"
"""Records are saved here, beside the notebook."""

PARSER: Final = OptionParser(
    f"%%{NAME}",
    "Profile this cell: where its time went, why the GPU was idle, what a token costs.",
    'In Python: with profkit.profile("baseline") as session: ...   then session.run\n'
    "On one line: %llmprofile [options] statement",
)
PARSER.add_argument("--name", help="name of the profile; the Run is bound to it in the notebook")
PARSER.add_argument("--model", help="the model (nn.Module) whose forward passes are steps; found by itself otherwise")
PARSER.add_argument(
    "--repeat",
    type=positive(int),
    default=0,
    metavar="N",
    help="run the cell N times unprofiled first: measures what profiling adds",
)
PARSER.add_argument("--no-trace", action="store_true", help="no kernels and operators: steps, telemetry and times only")
PARSER.add_argument("--shapes", action="store_true", help="record input shapes of operators")
PARSER.add_argument("--stacks", action="store_true", help="record Python stacks of operators")
PARSER.add_argument(
    "--memory", action="store_true", help="record the GPU allocator's history: what filled the memory at its peak"
)
PARSER.add_argument(
    "--telemetry-hz",
    type=positive(float, at_most=MAX_HZ),
    default=20.0,
    metavar="HZ",
    help="readings of each GPU per second (default 20)",
)
PARSER.add_argument("--no-source", action="store_true", help="leave the cell's code out of the record")
PARSER.add_argument("--no-save", action="store_true", help=f"do not save the record to {FOLDER}/")
PARSER.add_argument("--no-widget", action="store_true", help="show the summary only")


def parse(line: str) -> tuple[argparse.Namespace, str]:
    """Options and the rest of the line.

    Raises:
        OptionError: a wrong option or value.
        HelpRequestedError: -h was given.
    """
    options, rest = PARSER.parse(line)
    check_identifier(options.name, NAME)
    return options, rest


def check_identifier(name: str | None, magic: str) -> None:
    """Refuse a `--name` that no variable can have."""
    if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        raise OptionError(f"%%{magic}: --name {name!r} is not a Python name, so no variable can have it")


def check_free(shell: Any, name: str | None, magic: str, what: str, kind: type) -> None:
    """Refuse a `--name` that is a builtin, or a variable that holds something else than a result of this kind."""
    if name is None:
        return
    bound = shell.user_ns.get(name)
    if hasattr(builtins, name) or not isinstance(bound, kind | NoneType):
        holds = "a builtin" if hasattr(builtins, name) else f"a {type(bound).__name__} already"
        raise OptionError(f"%%{magic}: --name {name} is {holds}, which the {what} would replace; choose another")


def make_profile(shell: Any, options: argparse.Namespace, source: str, passes_ns: list[int]) -> Profile:
    """The profile that these options ask for, over the models that the source names."""
    from profkit.capture.discover import modules_in
    from profkit.capture.session import Options, Session

    check_free(shell, options.name, NAME, "profile", Run)
    what = Options(
        trace=not options.no_trace,
        shapes=options.shapes,
        stacks=options.stacks,
        memory=options.memory,
        telemetry_hz=options.telemetry_hz,
    )
    if options.model is not None:
        modules = [named_module(shell, options.model, NAME)]
    else:
        modules = modules_in(shell.transform_cell(innermost(source)), shell.user_ns)
    name = options.name or f"cell-{cell_number(shell)}"
    kept = None if options.no_source else source

    def make(_around: list[Any]) -> Session:
        session = Session(name, what, modules, kept)
        session.unprofiled_wall_ns = passes_ns
        return session

    return Profile(make)


def raw_cell(shell: Any) -> str:
    """The running cell as it was typed."""
    result = shell.displayhook.exec_result
    return "" if result is None else str(result.info.raw_cell)


def cell_number(shell: Any) -> int:
    """The n of the running cell's In[n]."""
    result = shell.displayhook.exec_result
    return int(shell.execution_count - 1 if result is None else result.execution_count)


def innermost(source: str) -> str:
    """Code without the `%%` lines above it: what `%%time` runs is a string to Python."""
    while source.lstrip().startswith("%%"):
        source = source.lstrip().partition("\n")[2]
    return source


def show(shell: Any, options: argparse.Namespace, run: Run) -> None:
    """Save the record and show the summary, then the widget."""
    from IPython.display import display

    link = None
    if not options.no_save:
        try:
            link = str(run.save(f"{FOLDER}/{run.name}"))
        except ProfkitError as error:
            run.warnings.append(str(error))
    display(run.summary(link=link))
    if not options.no_widget and hasattr(shell, "kernel"):
        display(run.widget("timeline", link))  # the overview stands above


def named_module(shell: Any, expression: str, magic: str) -> Any:
    """The nn.Module that `--model` of a magic names.

    Raises:
        OptionError: it raises, or is none.
    """
    from torch import nn

    try:
        module = eval(expression, shell.user_global_ns, shell.user_ns)  # noqa: S307 - the user's own line
    except Exception as error:
        raise OptionError(f"%%{magic}: --model {expression}: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise OptionError(f"%%{magic}: --model {expression} is a {type(module).__name__}, not an nn.Module")
    return module


@magics_class
class LlmProfile(Magics):
    """The magic for help, for lines, and for calls from code. Cells that start with it go by `CellHooks`."""

    @no_var_expand
    @line_cell_magic
    def llmprofile(self, line: str, cell: str | None = None) -> Any:
        """Profile a statement (or a cell); `%llmprofile -h` lists the options."""
        __tracebackhide__ = True
        with usage_errors():
            try:
                options, rest = parse(line)
            except HelpRequestedError as text:
                print(text)  # noqa: T201 - help is printed
                return None
            if cell is not None and rest:
                raise OptionError(f"%%{NAME}: {rest!r} is no option; code goes below the first line")
            source = rest if cell is None else cell
            if not source:
                raise OptionError(f"%{NAME} needs a statement; to profile a cell, start it with %%{NAME}")
            if options.repeat:
                make_profile(self.shell, options, source, [])  # wrong options do not wait for a pass
        code = compiled(self.shell, source)
        passes = [_timed(self.shell, code) for _ in range(options.repeat)]
        with usage_errors():
            profile = make_profile(self.shell, options, source, passes)
            profile.__enter__()
        error: BaseException | None = None
        try:
            value = run_code(self.shell, code)
        except BaseException as raised:
            error = raised
            raise
        finally:
            profile.__exit__(None, None, None)
            bind_and_show(self.shell, options, profile, error)
        return value


MAGIC: Final = LlmProfile


def bind_and_show(shell: Any, options: argparse.Namespace, profile: Profile, error: BaseException | None) -> None:
    """Bind the Run to its name and show it; `error` is what ended the code early."""
    if error is not None:
        profile.run.meta.error = described(error)
    if options.name:
        shell.user_ns[options.name] = profile.run
    show(shell, options, profile.run)


def compiled(shell: Any, source: str) -> tuple[Any, Any]:
    """Code of all but the last expression, and of that expression (None where there is none)."""
    code = shell.transform_cell(source)
    file = shell.compile.cache(code, cell_number(shell), raw_code=source)  # tracebacks read the lines there
    tree = shell.transform_ast(shell.compile.ast_parse(code, file))
    value = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = tree.body.pop()
        assert isinstance(last, ast.Expr)
        value = shell.compile(ast.Expression(last.value), file, "eval")
    return shell.compile(tree, file, "exec"), value


def run_code(shell: Any, code: tuple[Any, Any]) -> Any:
    """Run what `compiled` gives in the user's namespace; returns the last expression's value."""
    __tracebackhide__ = True
    body, value = code
    exec(body, shell.user_global_ns, shell.user_ns)  # noqa: S102 - the user's own code
    return None if value is None else eval(value, shell.user_global_ns, shell.user_ns)  # noqa: S307


def _timed(shell: Any, code: tuple[Any, Any]) -> int:
    from profkit.capture.clock import Stopwatch

    __tracebackhide__ = True
    watch = Stopwatch()
    run_code(shell, code)
    return watch.stop()
