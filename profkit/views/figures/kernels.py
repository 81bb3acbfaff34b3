"""Which kernels took the time: the longest ones as bars, coloured by kind of work."""

from __future__ import annotations

from typing import Final

from profkit.analysis.kernels import kernels
from profkit.record import Record
from profkit.views import palette
from profkit.views.figures.base import (
    INK,
    LABEL_SIZE,
    SOFT,
    ReportFigure,
    canvas,
    drawable,
    legend,
    style,
    time_unit,
)
from profkit.views.format import count, duration, plural, share, short_name

TOP: Final = 12
_MIN_ROWS: Final = 7
"""Fewer kernels leave room below: bars as thick as a thumb say no more."""
_NAME: Final = 40


def lacks(record: Record) -> str | None:
    """What the record is short of."""
    if kernels(record).empty:
        why = record.meta.not_measured.get("kernels", "nothing ran in it, or the trace was off (--no-trace)")
        return f"the record holds no kernel and no operator: {why}"
    return None


def draw(record: Record) -> ReportFigure:
    """The `TOP` kernels with time, share and count; without a GPU, host operators by their own time."""
    frame, kinds = kernels(record), kernels(record, by="kind")
    whole = int(frame["total_ns"].sum())
    what = "kernel" if frame.attrs["where"] == "gpu" else "operator"
    work = "the GPU's {} of work" if what == "kernel" else "the operators' {} on the host"
    first = kinds.iloc[0]
    with style():
        figure = canvas(
            f"{_kind(first['name'])} takes {share(first['share'])} of {work.format(duration(whole))}", record
        )
        axes = figure.add_axes((0.335, 0.135, 0.645, 0.69))
        shown = frame.head(TOP)
        factor, unit = time_unit(float(shown["total_ns"].iloc[0]))
        rows = [
            (short_name(name, _NAME), total, f"{duration(total)} · {share(part)} · {count(times)} ×", kind)
            for name, kind, times, total, part in zip(
                *(shown[column] for column in ("name", "kind", "count", "total_ns", "share")), strict=True
            )
        ]
        rest = frame.iloc[TOP:]
        if len(rest):
            total = int(rest["total_ns"].sum())
            text = f"{duration(total)} · {share(total / whole if whole else None)}"
            rows.append((f"{plural(len(rest), f'other {what}')} together", total, text, ""))
        for y, (name, total, text, kind) in enumerate(rows):
            colour = palette.work(kind).light if kind else palette.GRID.light
            axes.barh(y, total / factor, height=0.72, color=colour)
            axes.text(total / factor, y, "  " + text, va="center", color=INK if kind else SOFT, fontsize=LABEL_SIZE)
            axes.text(
                -0.012,
                y,
                drawable(name),
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                fontsize=LABEL_SIZE,
                color=INK if kind else SOFT,
            )
        axes.set_ylim(max(len(rows), _MIN_ROWS) - 0.4, -0.6)
        # The longest bar leaves room for its label.
        axes.set_xlim(0, max(total for _, total, _, _ in rows) / factor * 1.42 or 1)
        axes.set_yticks([])
        axes.grid(axis="x")
        axes.set_xlabel(f"total time of all calls ({unit})")
        present = dict.fromkeys(kinds["kind"])
        legend(figure, [(kind, palette.work(kind).light, False) for kind in present], y=0.88)
    return figure


def _kind(name: str) -> str:
    return "Work of no known kind" if name == "other" else name[:1].upper() + name[1:]
