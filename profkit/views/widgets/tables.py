"""What each tab of a profile is given: the numbers of an analysis as the columns of one reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from profkit.analysis import kernels as kernel_analysis
from profkit.analysis import telemetry as telemetry_analysis
from profkit.analysis.idle import idle_by_step
from profkit.analysis.kv import KIND, kv_curve, kv_growth
from profkit.analysis.steps import step_stats, steps_frame, token_gaps
from profkit.analysis.summary import Work, summarize
from profkit.errors import OptionError, nearest
from profkit.record import Metric, Record
from profkit.views import palette
from profkit.views.content import PHASE_HEAD, describe
from profkit.views.format import clean, memory, short_name, size
from profkit.views.kv_words import sentences
from profkit.views.widgets import protocol
from profkit.views.widgets import timeline as timeline_tables
from profkit.views.widgets.protocol import Table

_WORK_UNITS: Final = {
    "name": "",
    "short": "",
    "kind": "",
    "count": "",
    "total_ns": "ns",
    "mean_ns": "ns",
    "min_ns": "ns",
    "max_ns": "ns",
    "share": "share",
}
_STEP_UNITS: Final = {
    "phase": "",
    "generation": "",
    "start": "ns",
    "end": "ns",
    "host_duration": "ns",
    "device_duration": "ns",
    "token_gap": "ns",
    "batch": "",
    "query_tokens": "tokens",
    "context_tokens": "tokens",
    "tokens_out": "tokens",
    "busy_ns": "ns",
    "launch_ns": "ns",
    "sync_ns": "ns",
    "dependency_ns": "ns",
    "edge_ns": "ns",
    "unknown_ns": "ns",
}


def overview(record: Record) -> Table:
    """The summary: its longest work as columns, its words as `info`."""
    summary = summarize(record)
    top = pd.DataFrame([asdict(work) for work in summary.top], columns=[f.name for f in fields(Work)])
    words = asdict(describe(summary))
    del words["top"]  # the columns have it in full
    return Table.of(_with_short(top), _WORK_UNITS, {**words, "phase_head": PHASE_HEAD})


def kernels(record: Record, by: kernel_analysis.By = "name") -> Table:
    """GPU work, or host operators where there is no GPU, grouped `by` name, kind or op."""
    frame = kernel_analysis.kernels(record, by)
    return Table.of(_with_short(frame), _WORK_UNITS, {"by": by, "where": frame.attrs["where"]})


def steps(record: Record) -> Table:
    """One row per forward, with the GPU's busy and idle time in it."""
    stats = step_stats(record)
    frame = steps_frame(record)
    frame["token_gap"] = token_gaps(frame)
    frame = frame.join(idle_by_step(record).drop(columns="step", errors="ignore"))
    info = {
        "stats": stats.to_dict() if stats else None,
        "causes": {str(cause): label for cause, label in palette.IDLE_LABELS.items()},
        "reason": record.meta.not_measured.get("steps"),
    }
    return Table.of(frame, _STEP_UNITS, info)


_KV_UNITS: Final = {
    "step": "",
    "phase": "",
    "tokens": "tokens",
    "sequences": "",
    **dict.fromkeys(("logical_bytes", "capacity_bytes", "storage_bytes", "allocated", "reserved"), "bytes"),
}


def kv(record: Record) -> Table:
    """One row per reading of the KV cache, each kind of layer a column; what it says as sentences."""
    growth, curve = kv_growth(record), kv_curve(record)
    names = [name for name in curve.columns if name.startswith(KIND)]
    labels = [name.removeprefix(KIND) for name in names]
    kinds = [
        {"column": name, "label": clean(label), "color": f"--pk-kv-{palette.kv_group(label)}"}
        for name, label in zip(names, labels, strict=True)
    ]
    end = growth.full if growth is not None else None
    peak = growth.peak_bytes if growth is not None else None
    if curve.get("capacity_bytes") is not None and curve["capacity_bytes"].equals(curve["storage_bytes"]):
        curve = curve.drop(columns="capacity_bytes")  # one line for both
    info = {
        "lines": list(sentences(growth)) if growth is not None else [],
        "kinds": kinds,
        "peak": None if peak is None else {"bytes": peak, "label": size(peak)},
        "memory": None if end is None else {"bytes": end.memory_bytes, "label": memory(end.memory_bytes)},
        "reason": record.meta.not_measured.get("kv"),
    }
    if "phase" in curve:
        curve["phase"] = curve["phase"].astype(object).where(curve["phase"].notna(), "")
    return Table.of(curve, {**_KV_UNITS, **dict.fromkeys(names, "bytes")}, info)


def telemetry(record: Record) -> Table:
    """Every reading, track after track: one track is one metric of one GPU."""
    tracks: list[dict[str, Any]] = []
    frames: list[pd.DataFrame] = []
    table = record.telemetry
    for metric in Metric:
        if metric is Metric.CLOCK_EVENT_REASONS:
            continue  # a bit mask is no curve: `clock_reasons` says it in words
        of = table.filter(pc.equal(table["metric"], metric.value))
        for device in sorted(pc.unique(of["device"]).to_pylist()):
            time, value = telemetry_analysis.series(record, metric, device)
            if len(time):
                frames.append(pd.DataFrame({"track": np.int32(len(tracks)), "time": time, "value": value}))
                tracks.append({"metric": metric.value, "label": metric.label, "unit": metric.unit, "device": device})
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    info = {
        "tracks": tracks,
        "wall_ns": record.meta.wall_ns,
        "clock_reasons": telemetry_analysis.clock_reasons(record),
        "reason": record.meta.not_measured.get("telemetry"),
    }
    return Table.of(frame, {"track": "", "time": "ns", "value": ""}, info)


TABLES: Final[dict[str, Callable[..., Table]]] = {
    "overview": overview,
    "kernels": kernels,
    "steps": steps,
    "kv": kv,
    "telemetry": telemetry,
    "timeline": timeline_tables.timeline,
    "strips": timeline_tables.strips,
    "names": timeline_tables.names,
    "attributes": timeline_tables.attributes,
    "tile": timeline_tables.tile,
}
OPTIONS: Final[dict[str, tuple[str, ...]]] = {"kernels": ("by",), "strips": ("level",), "tile": ("index",)}
NEEDED: Final = ("strips", "tile")
"""Tables that there is only with their options."""


def table(record: Record, what: object, options: dict[str, Any]) -> Table:
    """The answer to one request.

    Raises:
        OptionError: no such table, or it has no such option.
    """
    if not isinstance(what, str) or what not in TABLES:
        raise OptionError(f"no table {what!r} in a profile{nearest(str(what), TABLES)}")
    known = OPTIONS.get(what, ())
    for option in options:
        if option not in known:
            raise OptionError(f"table {what!r} has no option {option!r}{nearest(option, known)}")
    if what in NEEDED and not options:
        raise OptionError(f"table {what!r} needs the option {known[0]!r}")
    return TABLES[what](record, **options)


def _with_short(frame: pd.DataFrame) -> pd.DataFrame:
    """With each name in its readable form beside the whole one."""
    return frame.assign(short=[short_name(name, protocol.NAME_WIDTH) for name in frame["name"]])
