"""What does one profile look like as a document: an HTML page that needs no network, or Markdown.

The page reads without JavaScript; with it, it holds the interactive view.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from profkit.analysis.kernels import kernels
from profkit.analysis.summary import Work, summarize
from profkit.record import Record
from profkit.views import page
from profkit.views.caption import caption, software
from profkit.views.content import PHASE_HEAD, Content, WorkRow, describe, work_row
from profkit.views.figures import FIGURES, available, figure
from profkit.views.format import NOT_AVAILABLE, clean, count, cut, duration, plural, share, short_name
from profkit.views.html import body, work_table
from profkit.views.picture import packed
from profkit.views.style import css

KERNELS: Final = 50
"""Kernels in the page's table; beyond them is a share that nobody tunes."""
STEPS: Final = 500
_OPEN_STEPS: Final = 40
"""A longer table of steps starts folded."""
_STEP_HEAD: Final = (
    "step",
    "phase",
    "start",
    "time",
    "host",
    "GPU span",
    "batch",
    "query",
    "context",
    "new tokens",
)
_MD_NAME: Final = 60

_PAGE: Final = """
html{color-scheme:light dark}
body{margin:0 auto;max-width:1680px;padding:20px 24px;background:#fff}
@media(prefers-color-scheme:dark){body{background:#111}}
.pk-s{padding:0;max-width:1120px;font-size:14px}
.pk-s h2{font-size:1.25em;margin:32px 0 10px;font-weight:600}
.pk-s figure{margin:0 0 22px;background:#fff;border:1px solid var(--pk-rule);border-radius:6px;padding:6px}
.pk-s figure img{display:block;width:100%;height:auto}
.pk-s pre{overflow-x:auto;border:1px solid var(--pk-rule);border-radius:6px;padding:12px;margin:0 0 14px}
.pk-s pre code{overflow-wrap:normal}
.pk-s summary{cursor:pointer;margin:0 0 8px}
.pk-s footer{color:var(--pk-soft);font-size:.9em;margin-top:28px}
.pk{margin:24px 0}
"""


def html_page(record: Record, link: str | None = None) -> str:
    """One page of a record: summary, interactive view, environment, options and source; asks for no network.

    Args:
        record: the profile.
        link: path to the saved record, relative to where the page will lie.
    """
    summary = summarize(record)
    content = describe(summary, software(record.meta), link)
    about = "\n".join(_about(record))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{page.policy()}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(cut(content.name, 80))} · profkit</title>\n"
        f"<style>{css()}{page.view_style()}{_PAGE}</style></head>\n"
        f'<body><main>\n<div class="pk-s">\n{body(content)}\n</div>\n'
        f"{page.interactive(record)}\n"
        f'<div class="pk-s">\n<noscript>{_still(record, content)}</noscript>\n{about}\n'
        f"<footer>{html.escape(caption(summary, record.meta))}</footer>\n</div>\n</main></body></html>\n"
    )


def _still(record: Record, content: Content) -> str:
    """What stands in for the view where no script runs."""
    parts = []
    for kind in available(record):
        picture = base64.b64encode(packed(figure(record, kind))).decode()
        parts.append(f'<figure><img alt="{html.escape(FIGURES[kind])}" src="data:image/png;base64,{picture}"></figure>')
    if len(record.steps):
        parts += ["<h2>Steps</h2>", _steps(record)]
    rows = _work_rows(record)
    if rows:
        parts.append(f"<h2>{'Kernels' if content.top_title == 'Top kernels' else 'Operators'}</h2>")
        parts.append(work_table(f"{plural(len(rows), 'name')}, longest first", rows))
    return "\n".join(parts)


def _about(record: Record) -> Iterator[str]:
    """Where and how it was measured."""
    for title, data in (("Environment", record.meta.environment), ("Options", record.meta.options)):
        if data:
            yield f"<h2>{title}</h2>"
            yield _table((), [(key, value) for key, value in _flat(data)])
    if record.meta.source:
        yield "<h2>Cell</h2>"
        yield f"<pre><code>{html.escape(record.meta.source)}</code></pre>"


def _steps(record: Record) -> str:
    steps = record.steps
    rows = [
        (
            count(at),
            clean(step["phase"] or NOT_AVAILABLE),
            duration(step["start"]),
            duration(step["end"] - step["start"]),
            *(duration(step[name]) for name in ("host_duration", "device_duration")),
            *(count(step[name]) for name in ("batch", "query_tokens", "context_tokens", "tokens_out")),
        )
        for at, step in enumerate(steps.slice(0, STEPS).to_pylist())
    ]
    table = _table(_STEP_HEAD, rows)
    if len(steps) <= _OPEN_STEPS:
        return table
    more = f", the first {count(STEPS)} below" if len(steps) > STEPS else ""
    return f"<details><summary>{plural(len(steps), 'step')}{more}</summary>{table}</details>"


def _work_rows(record: Record) -> list[WorkRow]:
    top = kernels(record).head(KERNELS)
    columns = (top[name] for name in ("name", "kind", "count", "total_ns", "share"))
    return [work_row(Work(*values)) for values in zip(*columns, strict=True)]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    top = "".join(f'<th scope="col" class="pk-s-n">{html.escape(name)}</th>' for name in head)
    lines = "\n".join(
        "<tr>" + "".join(f"<td{' class=pk-s-n' if head else ''}>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table>{f'<thead><tr>{top}</tr></thead>' if head else ''}<tbody>\n{lines}\n</tbody></table>"


def _flat(data: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Nested data as pairs: ``packages torch`` → ``2.11.0``."""
    for key, value in data.items():
        name = f"{before}{clean(str(key)).replace('_', ' ')}"
        items = value if isinstance(value, list) else [value]
        for at, item in enumerate(items):
            numbered = f"{name} {at}" if len(items) > 1 else name
            if isinstance(item, dict):
                yield from _flat(item, f"{numbered} ")
            else:
                text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str)
                yield numbered, NOT_AVAILABLE if item is None else clean(text)


def markdown(record: Record) -> str:
    """The summary as Markdown (GitHub's), for a pull request or a log."""
    content = describe(summarize(record), software(record.meta))
    return "\n".join(_markdown(content)) + "\n"


def _markdown(content: Content) -> Iterator[str]:
    yield from (f"# {_md(cut(content.name, 80))}", "", _md(content.byline), "")
    if content.error:
        yield from (f"**The cell raised** {_md(content.error)}", "")
    yield from (_md(content.sentence), "")
    figures = [
        (entry.label, f"{entry.value} ({entry.note})" if entry.note else entry.value) for entry in content.figures
    ]
    yield from _md_table(("", "value"), figures)
    if content.bar:
        bar = [(part.label, duration(part.ns), share(part.share)) for part in content.bar]
        yield from _md_table((content.bar_title, "time", "share"), bar)
    if content.phases:
        phases = [(row.phase, row.steps, row.tokens, row.time, row.host, row.gpu) for row in content.phases]
        yield from _md_table(PHASE_HEAD, phases)
    if content.top:
        top = [
            (short_name(row.name, _MD_NAME), row.kind, row.count, row.total, row.mean, row.share) for row in content.top
        ]
        yield from _md_table((content.top_title, "kind", "count", "total", "mean", "share"), top, words=2)
    for title, lines in (
        ("What to change first", content.findings),
        ("Memory", tuple((line, "") for line in content.memory)),
        ("Warnings", tuple((warning, "") for warning in content.warnings)),
        ("Not measured", content.missing),
    ):
        if lines:
            yield from (f"## {title}", "")
            yield from (f"- {_md(what)}: {_md(why)}" if why else f"- {_md(what)}" for what, why in lines)
            yield ""


def _md_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], words: int = 1) -> Iterator[str]:
    yield f"| {' | '.join(map(_md, head))} |"
    yield f"| {' | '.join('---' if at < words else '---:' for at in range(len(head)))} |"
    for row in rows:
        yield f"| {' | '.join(map(_md, row))} |"
    yield ""


def _md(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no cell border, no line break."""
    escaped = re.sub(r"[\\`*\[\]|~#]", r"\\\g<0>", html.escape(clean(text), quote=False))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", escaped)  # inside a word it is no markup
