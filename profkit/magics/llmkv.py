"""`%llmkv`: what of a model's weights and KV cache fits into a GPU, before anything runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from profkit.errors import OptionError
from profkit.magics.llmprofile import check_free, check_identifier
from profkit.magics.options import HelpRequestedError, OptionParser, first_word, positive, usage_errors

NAME: Final = "llmkv"

PARSER: Final = OptionParser(
    f"%{NAME}",
    "Plan a GPU's memory from a model's config alone: bytes per token, largest batch, longest context.\n"
    f"%{NAME} CONFIG [options], where CONFIG is a variable that holds a config, a dict or a model, or the path of a\n"
    "config.json or of its folder.",
    'In Python: profkit.kv_plan(config, gpu="H200", batch=32, context=8192)\n'
    f"Example: %{NAME} config.json --gpu H200 --batch 32 --context 8192",
)
PARSER.add_argument("--gpu", help='a GPU by name ("H200"), "here", or a number of bytes')
PARSER.add_argument("--batch", type=positive(int), default=1, metavar="N", help="sequences (default 1)")
PARSER.add_argument("--context", type=positive(int), metavar="TOKENS", help="of each sequence (default 8192)")
PARSER.add_argument("--weights-dtype", metavar="DTYPE", help="bf16, fp8, int4, ... (default the config's)")
PARSER.add_argument("--kv-dtype", metavar="DTYPE", help="bf16, fp8, int4, ... (default the config's)")
PARSER.add_argument("--page", type=positive(int), metavar="TOKENS", help="of a page of a paged cache (vLLM: 16)")
PARSER.add_argument("--tensor-parallel", type=positive(int), default=1, metavar="GPUS", help="that share the model")
PARSER.add_argument("--overhead", type=positive(float), metavar="BYTES", help="or a share of the memory below 1")
PARSER.add_argument("--lengths", metavar="NAME", help="a variable that holds lengths of sequences, in tokens")
PARSER.add_argument("--source-tokens", type=positive(int), metavar="TOKENS", help="of an encoder-decoder's source")
PARSER.add_argument("--name", help="a variable that the plan is bound to")
PARSER.add_argument("--no-widget", action="store_true", help="show the plan without sliders")


@magics_class
class LlmKv(Magics):
    """The magic; its work is `profkit.kv_plan`."""

    @no_var_expand
    @line_magic
    def llmkv(self, line: str) -> None:
        """Plan the KV cache of a model; `%llmkv -h` lists the options."""
        __tracebackhide__ = True
        from IPython.display import display

        from profkit.kv import KVPlan, kv_plan

        assert self.shell is not None
        with usage_errors():
            try:
                config, options = parse(line)
            except HelpRequestedError as text:
                print(text)  # noqa: T201 - help is printed
                return
            check_free(self.shell, options.name, NAME, "plan", KVPlan)
            plan = kv_plan(
                _config(self.shell, config),
                gpu=_gpu(options.gpu),
                weights_dtype=options.weights_dtype,
                kv_dtype=options.kv_dtype,
                page=options.page,
                context=options.context,
                batch=options.batch,
                tensor_parallel=options.tensor_parallel,
                overhead=options.overhead,
                lengths=None if options.lengths is None else _value(self.shell, "--lengths", options.lengths),
                source_tokens=options.source_tokens,
            )
        if options.name:
            self.shell.user_ns[options.name] = plan
        display(plan)
        if not options.no_widget and hasattr(self.shell, "kernel"):
            display(plan.widget())


def parse(line: str) -> tuple[str, argparse.Namespace]:
    """The config as it was written, and the options on both sides of it.

    Raises:
        OptionError: a wrong option or value, or no config.
        HelpRequestedError: -h was given.
    """
    _, rest = PARSER.parse(line)
    if not rest.strip():
        raise OptionError(f"%{NAME} needs a config: a variable, or the path of a config.json (`%{NAME} -h`)")
    config, tail = first_word(rest, f"%{NAME}")
    options, stray = PARSER.parse(f"{line.removesuffix(rest)} {tail}")
    if stray:
        raise OptionError(f"%{NAME}: {stray!r} is no option; one config at a time")
    check_identifier(options.name, NAME)
    return config, options


def _config(shell: Any, word: str) -> Any:
    """A variable's value (`config`, `model.config`), or the path as it is."""
    names = word.split(".")
    if names[0] in shell.user_ns and all(name.isidentifier() for name in names):
        return _value(shell, "config", word)
    if Path(word).expanduser().exists():
        return Path(word).expanduser()
    raise OptionError(f"%{NAME}: {word} is neither a variable nor a file or folder here")


def _gpu(text: str | None) -> str | float | None:
    """A number of bytes, or a name."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _value(shell: Any, option: str, expression: str) -> Any:
    try:
        return eval(expression, shell.user_global_ns, shell.user_ns)  # noqa: S307 - the user's own line
    except Exception as error:
        raise OptionError(f"%{NAME}: {option} {expression}: {type(error).__name__}: {error}") from error


MAGIC: Final = LlmKv
