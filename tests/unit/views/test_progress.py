"""How far a sweep is, in a terminal."""

import sys

from profkit.views.progress import Progress


class Terminal:
    """A stderr that is a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def watched(monkeypatch):
    """A terminal as stderr; pytest puts its own back between a fixture and its test."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def test_it_says_how_far_it_is_and_how_long_the_rest_takes(monkeypatch):
    terminal = watched(monkeypatch)
    now = [0]
    progress = Progress(now=lambda: now[0])
    progress.at(2, 10, "batch 1")  # two were done by an earlier sweep
    assert "2 of 10 points · batch 1" in terminal.text
    assert "left" not in terminal.text
    now[0] = 6 * 10**9
    progress.at(4, 10, "batch 2")
    assert "4 of 10 points · batch 2 · about 18.0 s left" in terminal.text
    progress.end("10 of 10 points measured")
    assert terminal.text.endswith("10 of 10 points measured\n")


def test_words_cannot_steer_the_terminal(monkeypatch):
    terminal = watched(monkeypatch)
    Progress().at(0, 1, "a\x1b[2Jb")
    assert "\x1b[2J" not in terminal.text


def test_it_is_silent_where_nobody_watches(capsys):
    for progress in (Progress(), Progress(shown=False)):
        progress.at(0, 1, "batch 1")
        progress.end("done")
    assert capsys.readouterr() == ("", "")
