"""Which kernels took the time: GPU work by name and by kind, or host operators where there is no GPU."""

from __future__ import annotations

import enum
import functools
import re
from typing import Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from profkit.analysis.events import kind_rows, names_and_codes
from profkit.analysis.idle import traced_gpu
from profkit.analysis.intervals import Ints
from profkit.errors import OptionError
from profkit.record import GPU_WORK, EventKind, Record


class WorkKind(enum.StrEnum):
    """What a kernel or an operator does for the model."""

    ATTENTION = "attention"
    MATMUL = "matmul"
    NORM = "norm"
    ELEMENTWISE = "elementwise"
    COPY = "copy"
    COMMUNICATION = "communication"
    OTHER = "other"


_RULES: Final = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (
            WorkKind.COMMUNICATION,
            r"nccl|c10d|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|cross_device_reduce|rccl|nvshmem",
        ),
        (WorkKind.COPY, r"reshape_and_cache|concat_and_cache|appendpagedkv"),
        (
            WorkKind.ATTENTION,
            r"flash(?!infer)|fmha|sdpa|attention|attn|mla_|paged_kv|lean_reduction"
            r"|with(paged|ragged)?kvcache|mergestates|_fwd(_grouped)?_kernel_stage",
        ),
        (
            WorkKind.MATMUL,
            r"gemm|gemv|nvjet|cutlass|cublas|splitk|matmul|\bmm\b|\bbmm\b|\baddmm\b|linear\b|xmma|wgmma"
            r"|\bbaddbmm\b|_mm\b|_int_mm|marlin|machete|fused_moe_kernel|^triton_tem",
        ),
        (
            WorkKind.NORM,
            r"layer_?norm|rms_?norm|group_?norm|batch_?norm|norm_kernel|rmsnorm|_norm\b|rsqrt|rowwisemoments"
            r"|\bbn_fw",
        ),
        (
            WorkKind.COPY,
            r"memcpy|memset|copy|catarray|\bcat\b|\bclone\b|_to_copy|index_select|indexselect|gather(?!topk)"
            r"|scatter|(?<!rotary_)embedding|index_put|index_kernel|\bindex\b|(?<!masked_)fill|transpose"
            r"|contiguous|\bstack\b|repeat",
        ),
        (
            WorkKind.ELEMENTWISE,
            r"elementwise|\badd_?\b|\bmul_?\b|\bsub_?\b|\bdiv_?\b|silu|gelu|relu|masked_fill|quant"
            r"|sigmoid|tanh|\bexp\b|\bpow\b|\bneg\b|\bcos\b|\bsin\b|\bwhere\b|softmax|pointwise|rotary|rope|swiglu",
        ),
    )
)
"""Tried in this order, the first hit counts: a fused kernel is named after its dearest part."""

By = Literal["name", "kind", "op"]


_INDUCTOR: Final = re.compile(r"^triton_(poi|per|red)_fused")
"""torch.compile's pointwise and reduction kernels. They list every operator that was fused into or next
to them, matmuls and attention among them, which they do not do."""


@functools.lru_cache(maxsize=65536)
def work_kind(name: str) -> WorkKind:
    """The kind of a kernel or operator by its name."""
    if _INDUCTOR.match(name):
        return WorkKind.NORM if "rsqrt" in name or "norm" in name else WorkKind.ELEMENTWISE
    for kind, pattern in _RULES:
        if pattern.search(name):
            return kind
    return WorkKind.OTHER


def kernels(record: Record, by: By = "name") -> pd.DataFrame:
    """GPU work grouped `by` kernel name, kind of work, or launching operator; longest first.

    Columns: name, kind, count, total_ns, mean_ns, min_ns, max_ns, share (of all GPU work; streams that
    overlap count each). Without GPU work in the record, host operators by self time: duration less that
    of the operators called inside. `frame.attrs["where"]` is "gpu" or "host".
    """
    if by not in ("name", "kind", "op"):
        raise OptionError(f"kernels(by={by!r}): by is 'name', 'kind' or 'op'")
    gpu = traced_gpu(record)
    if gpu:
        rows = kind_rows(record.events, *GPU_WORK)
        time = record.events["duration"].to_numpy()[rows]
    else:
        rows = kind_rows(record.events, EventKind.OP)
        time = self_time(record.events, rows)
        by = "name" if by == "op" else by  # the work is the operators themselves
    frame = _group(record.events, rows, time, by)
    frame.attrs["where"] = "gpu" if gpu else "host"
    return frame


def self_time(events: pa.Table, rows: Ints) -> Ints:
    """Time of each host event less that of the events directly inside it on the same thread, ns.

    A child that outlives its parent (clock jitter) takes no more than the parent had left.
    """
    start = events["start"].to_numpy()[rows]
    duration = events["duration"].to_numpy()[rows]
    lane = events["lane"].to_numpy()[rows]
    own = duration.copy()
    for thread in np.unique(lane):
        at = np.flatnonzero((lane == thread) & (duration > 0))
        at = at[np.lexsort((-duration[at], start[at]))]
        begin, end = start[at], start[at] + duration[at]
        # How many events are open when each begins: those begun before it less those ended by then.
        depth = np.arange(len(at)) - np.searchsorted(np.sort(end), begin, side="right")
        outer = np.flatnonzero(depth == 0)
        for level in range(1, int(depth.max(initial=0)) + 1):
            inner = np.flatnonzero(depth == level)
            parent = outer[np.searchsorted(outer, inner) - 1]
            np.subtract.at(own, at[parent], np.minimum(end[inner], end[parent]) - begin[inner])
            outer = inner
    return np.maximum(own, 0)


def _group(events: pa.Table, rows: Ints, time: Ints, by: By) -> pd.DataFrame:
    words, code = names_and_codes(events)
    kinds = list(WorkKind)
    kind_of_word = np.array([kinds.index(work_kind(word)) for word in words], np.int64)
    own = code[rows]
    kind = kind_of_word[own]
    if by == "kind":
        key, words = kind, [str(kind) for kind in kinds]
    elif by == "op":
        op = events["op"].to_numpy()[rows]
        key = np.where(op >= 0, code[op], len(words))
        words = [*words, "(no operator)"]
    else:
        key = own
    parts = _totals(key * len(kinds) + kind, time)
    parts["name"] = np.array(words, object)[parts["key"] // len(kinds)]
    parts["kind"] = np.array([str(kind) for kind in kinds], object)[parts["key"] % len(kinds)]
    # A group's kind is that of most of its time: one operator may launch kernels of several kinds.
    table = (
        parts.sort_values("total_ns", ascending=False, kind="stable")
        .groupby("name", sort=False)
        .agg({"kind": "first", "count": "sum", "total_ns": "sum", "min_ns": "min", "max_ns": "max"})
        .reset_index()
        .sort_values(["total_ns", "name"], ascending=[False, True], ignore_index=True)
    )
    whole = table["total_ns"].sum()
    table["mean_ns"] = table["total_ns"] / table["count"]
    table["share"] = table["total_ns"] / whole if whole else np.nan
    return table[["name", "kind", "count", "total_ns", "mean_ns", "min_ns", "max_ns", "share"]]


def _totals(key: Ints, time: Ints) -> pd.DataFrame:
    """Count, sum, least and largest time for each key."""
    order = np.argsort(key, kind="stable")
    key, time = key[order], time[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    some = len(first) > 0
    return pd.DataFrame(
        {
            "key": key[first],
            "count": np.diff(first, append=len(key)),
            "total_ns": np.add.reduceat(time, first) if some else time,
            "min_ns": np.minimum.reduceat(time, first) if some else time,
            "max_ns": np.maximum.reduceat(time, first) if some else time,
        }
    )
