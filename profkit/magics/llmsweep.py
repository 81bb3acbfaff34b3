"""`%%llmsweep`: run a cell over a grid and show how its time, throughput, energy and cost move."""

from __future__ import annotations

import argparse
import ast
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from IPython.core.magic import Magics, cell_magic, magics_class, no_var_expand
from IPython.utils.capture import capture_output

from profkit.analysis.axes import Axis, axes_of, parse_axis, parse_duration, points_of, slo_of
from profkit.capture.calls import counter
from profkit.errors import OptionError, ProfkitError, nearest
from profkit.magics.llmprofile import (
    FOLDER,
    cell_number,
    check_free,
    check_identifier,
    compiled,
    innermost,
    named_module,
    run_code,
)
from profkit.magics.options import HelpRequestedError, OptionParser, positive, usage_errors
from profkit.sweeps import Request, Sweep, earlier, measure

NAME: Final = "llmsweep"

PARSER: Final = OptionParser(
    f"%%{NAME} axis=value,value … ",
    "Run this cell at every combination of the axes' values, which it reads as variables, and show latency and\n"
    "throughput with their spread, the floor under them, energy and cost.\n\n"
    f"  %%{NAME} batch=1,2,4,8 context=512,4096 --slo tpot=30ms,ttft=500ms --price 3.50\n"
    "  generate(batch, context)",
    'In Python: profkit.sweep(generate, batch=[1, 2, 4], context=[512], slo="tpot=30ms")\n'
    "Values of variables: batch={batches} --budget {seconds}s\n"
    "Output of the cell is shown once. A point that runs out of memory or raises is a result; the others go on.",
)
PARSER.add_argument("--name", help="name of the sweep; the Sweep is bound to it in the notebook")
PARSER.add_argument("--slo", metavar="NAME=TIME,…", help="objectives: ttft, tpot, e2e, such as tpot=30ms,ttft=500ms")
PARSER.add_argument("--price", type=positive(float), help="dollars for a GPU and hour")
PARSER.add_argument("--carbon", type=positive(float), metavar="G", help="g of CO2 for a kWh")
PARSER.add_argument("--budget", metavar="TIME", help="time for the whole sweep, such as 120s; else 10s for each point")
PARSER.add_argument(
    "--precision",
    type=positive(float, at_most=1.0),
    default=0.02,
    metavar="SHARE",
    help="half-width of a median's 95%% interval that is narrow enough (default 0.02)",
)
PARSER.add_argument(
    "--tokens", metavar="EXPR", help="a run's new tokens, over `result` (the cell's last value) and the axes"
)
PARSER.add_argument("--trace-at", metavar="AXIS=VALUE,…", help="keep a full profile of these points, in .runs")
PARSER.add_argument("--model", help="the model (nn.Module) whose forward passes are steps; found by itself otherwise")
PARSER.add_argument("--resume", metavar="SWEEP", help="go on with a sweep: its name, or the path of its file")
PARSER.add_argument("--seed", type=int, default=0, help="of the points' order (default 0)")
PARSER.add_argument("--no-energy", action="store_true", help="do not measure energy: points need no 2 s then")
PARSER.add_argument("--no-source", action="store_true", help="leave the cell's code out of the sweep")
PARSER.add_argument("--no-save", action="store_true", help=f"do not save the sweep to {FOLDER}/")
PARSER.add_argument("--no-widget", action="store_true", help="show the summary only")


def parse(line: str, namespace: Mapping[str, Any]) -> tuple[argparse.Namespace, dict[str, Axis]]:
    """Options and axes of a line; ``{batches}`` in it stands for a value of the namespace.

    Raises:
        OptionError: a wrong option or axis.
        HelpRequestedError: -h was given.
    """
    options, words = PARSER.parse_mixed(re.sub(r"\{([^{}]+)\}", lambda match: _value(match[1], namespace), line))
    check_identifier(options.name, NAME)
    given: dict[str, Any] = {}
    for word in words:
        name, values = parse_axis(word)
        if name in given:
            raise OptionError(f"%%{NAME}: axis {name!r} is given twice")
        given[name] = values
    options.slo_ns = slo_of(options.slo)
    options.budget_s = parse_duration(options.budget) / 1e9 if options.budget else None
    axes = axes_of(given)
    options.traced = points_of(options.trace_at, axes)
    return options, axes


def _value(expression: str, namespace: Mapping[str, Any]) -> str:
    """An expression's value as a line writes it: a list as ``1,2,4``."""
    try:
        value = eval(expression, dict(namespace))  # noqa: S307 - the user's own line
    except Exception as error:
        raise OptionError(f"%%{NAME}: {{{expression}}}: {type(error).__name__}: {error}") from error
    return ",".join(map(str, value)) if isinstance(value, list | tuple | range) else str(value)


class _Cell:
    """A cell that runs in the user's namespace with the axes as variables, over and over."""

    def __init__(self, shell: Any, source: str) -> None:
        self._shell = shell
        self._code = compiled(shell, source)
        self._before = set(shell.user_ns)
        self._first: Any = None  # output of the first run
        self._shown = False

    def bind(self, values: Mapping[str, Any]) -> Callable[[], Any]:
        """The cell at one point."""

        def call() -> Any:
            __tracebackhide__ = True
            self._shell.user_ns.update(values)
            if self._first is None:
                with capture_output() as self._first:
                    return self._run()
            return self._run()

        return call

    def _run(self) -> Any:
        from profkit.capture.point import is_out_of_memory

        __tracebackhide__ = True
        try:
            return run_code(self._shell, self._code)
        except Exception as error:
            if is_out_of_memory(error):  # what the cell itself made may be what fills the memory
                for name in set(self._shell.user_ns) - self._before:
                    del self._shell.user_ns[name]
            raise

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Around the runs of a point: the cell's output is shown once, not a hundred times."""
        try:
            with capture_output():
                yield
        finally:
            if self._first is not None and not self._shown:
                self._shown = True
                self._first.show()


@contextlib.contextmanager
def _restored(namespace: dict[str, Any], names: list[str]) -> Iterator[None]:
    """Puts variables back to what they were."""
    before = {name: namespace[name] for name in names if name in namespace}
    try:
        yield
    finally:
        for name in names:
            if name in before:
                namespace[name] = before[name]
            else:
                namespace.pop(name, None)


def _request(shell: Any, options: argparse.Namespace, axes: dict[str, Axis], source: str, cell: _Cell) -> Request:
    from profkit.capture.discover import modules_in
    from profkit.capture.redact import redact

    if options.model is not None:
        modules = [named_module(shell, options.model, NAME)]
    else:
        modules = modules_in(shell.transform_cell(innermost(source)), shell.user_ns)
    return Request(
        name=options.name or f"sweep-{cell_number(shell)}",
        axes=axes,
        bind=cell.bind,
        modules=modules,
        slo_ns=options.slo_ns,
        price=options.price,
        carbon=options.carbon,
        budget_s=options.budget_s,
        precision=options.precision,
        count=counter(options.tokens, list(axes), shell.user_ns),
        trace_at=options.traced,
        energy=not options.no_energy,
        seed=options.seed,
        earlier=_earlier(shell, options.resume, list(axes)),
        progress=True,
        source=None if options.no_source else redact(source),
        around=cell.quiet,
    )


def _earlier(shell: Any, resume: str | None, axes: list[str]) -> Sweep | None:
    bound = shell.user_ns.get(resume) if resume is not None else None
    return earlier(bound if isinstance(bound, Sweep) else resume, axes)


def _check_used(shell: Any, source: str, axes: dict[str, Axis]) -> None:
    """Refuse an axis that neither the cell nor a function that it names reads."""
    from profkit.capture.discover import names_in

    read = names_in(shell.transform_cell(innermost(source)), shell.user_ns)
    for axis in axes:
        if axis not in read:
            near = nearest(axis, [name for name in read if not name.startswith("_")])
            hint = near if "did you mean" in near else ""
            raise OptionError(f"%%{NAME}: the cell does not use {axis!r}{hint}")


def _checked(shell: Any, options: argparse.Namespace, axes: dict[str, Axis], source: str) -> _Cell:
    """The cell, once it is clear that it can be swept."""
    if not source.strip():
        raise OptionError(f"%%{NAME} needs code below its first line")
    if options.name in axes:
        raise OptionError(f"%%{NAME}: --name {options.name} is an axis; choose another")
    check_free(shell, options.name, NAME, "sweep", Sweep)
    if _awaits(shell.transform_cell(innermost(source))):
        raise OptionError(f"%%{NAME}: the cell awaits, which cannot be repeated: put asyncio.run around it")
    cell = _Cell(shell, source)
    _check_used(shell, source, axes)
    return cell


@magics_class
class LlmSweep(Magics):
    """The magic."""

    @no_var_expand
    @cell_magic
    def llmsweep(self, line: str, cell: str) -> None:
        """Run a cell over a grid; `%%llmsweep -h` lists the options."""
        __tracebackhide__ = True
        shell: Any = self.shell
        with usage_errors():
            try:
                options, axes = parse(line, shell.user_ns)
            except HelpRequestedError as text:
                print(text)  # noqa: T201 - help is printed
                return
            running = _checked(shell, options, axes, cell)
        with _restored(shell.user_ns, list(axes)):
            with usage_errors():
                made, error = measure(_request(shell, options, axes, cell, running))
            _bind_and_show(shell, options, made)
        if error is not None:
            raise error
        if made.meta.interrupted:
            raise KeyboardInterrupt


MAGIC: Final = LlmSweep


def _awaits(code: str) -> bool:
    """Whether code awaits outside of every function."""
    try:
        waiting: list[ast.AST] = [ast.parse(code)]
    except SyntaxError:
        return False  # which is said when the cell is compiled
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return False


def _bind_and_show(shell: Any, options: argparse.Namespace, made: Sweep) -> None:
    """Bind the Sweep to its name, save it, show it."""
    from IPython.display import display

    if options.name:
        shell.user_ns[options.name] = made
    if not options.no_save:
        try:
            made.save(f"{FOLDER}/{made.name}")
        except ProfkitError as problem:
            made.warnings.append(str(problem))
    display(made)
    if not options.no_widget and hasattr(shell, "kernel"):
        display(made.widget())
