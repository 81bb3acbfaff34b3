"""Options of a magic's line: argparse whose errors name the nearest option and which never exits."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import shlex
from collections.abc import Iterator
from typing import Any, NoReturn

from IPython.core.error import UsageError

from profkit.errors import OptionError, ProfkitError, nearest


class HelpRequestedError(Exception):
    """`-h` was given; the message is the help text."""


class OptionParser(argparse.ArgumentParser):
    """Parses the line of a magic.

    `parse` raises OptionError on what is wrong and HelpRequestedError on -h, and leaves sys.argv alone.
    """

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            add_help=False,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("-h", "--help", action="store_true", help="show this text; the cell is not run")

    def parse(self, line: str) -> tuple[argparse.Namespace, str]:
        """The options at the head of `line`, and the rest of the line as it stands."""
        head, rest = self._split(line)
        options = self.parse_args(head)
        if options.help:
            raise HelpRequestedError(self.format_help())
        return options, rest

    def parse_mixed(self, line: str) -> tuple[argparse.Namespace, list[str]]:
        """The options anywhere in `line`, and the words that are neither options nor the value of one."""
        head: list[str] = []
        words: list[str] = []
        rest = line.lstrip()
        while rest:
            if rest.startswith("-"):
                more, rest = self._split(rest)
                head += more
            else:
                word, rest = first_word(rest, self.prog)
                words.append(word)
        options = self.parse_args(head)
        if options.help:
            raise HelpRequestedError(self.format_help())
        return options, words

    def flags(self) -> list[str]:
        """The long options, for completion."""
        return sorted(self._long())

    def error(self, message: str) -> NoReturn:
        """What argparse calls where it would print and exit."""
        raise OptionError(f"{self.prog}: {message} (`{self.prog} -h` lists the options)")

    def _long(self) -> dict[str, argparse.Action]:
        return {name: action for action in self._actions for name in action.option_strings if name.startswith("--")}

    def _split(self, line: str) -> tuple[list[str], str]:
        """Options end at the first word that is neither an option nor the value of one."""
        actions = {name: action for action in self._actions for name in action.option_strings}
        head: list[str] = []
        rest = line.lstrip()
        while rest.startswith("-"):
            word, rest = first_word(rest, self.prog)
            name, _, value = word.partition("=")
            action = actions.get(name)
            if action is None:
                raise OptionError(f"{self.prog}: unknown option {name}{nearest(name, self._long())}")
            head.append(word)
            if action.nargs != 0 and not value:
                if not rest:
                    raise OptionError(f"{self.prog}: {name} needs a value: {action.help}")
                value, rest = first_word(rest, self.prog)
                head[-1:] = [f"{name}={value}"]
        return head, rest


def first_word(text: str, prog: str) -> tuple[str, str]:
    """The first word of a line, quotes taken off, and what follows it."""
    stream = io.StringIO(text)
    lexer = shlex.shlex(stream, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        word = lexer.get_token() or ""
    except ValueError as error:
        raise OptionError(f"{prog}: {error} in {text!r}") from error
    return word, text[stream.tell() :].lstrip()


def positive(kind: type[int] | type[float], at_most: float = math.inf) -> Any:
    """An argparse type: a number above 0."""

    def parse(text: str) -> int | float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        if value > at_most:
            raise argparse.ArgumentTypeError(f"{text} is more than {at_most:g}")
        return value

    parse.__name__ = "whole number" if kind is int else "number"
    return parse


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Our errors as IPython's own, which it shows in one line."""
    try:
        yield
    except ProfkitError as error:
        raise UsageError(str(error)) from None
