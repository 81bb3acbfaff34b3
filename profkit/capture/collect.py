"""What did the recorders of a profile bring, and why is the rest missing: their tables, with notes for the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from profkit.capture.forward import ForwardWatcher
from profkit.capture.kvcache import KVRecorder
from profkit.capture.kvformula import Formula, NoFormulaError, kv_formula
from profkit.capture.kvtable import kv_table, lacks
from profkit.capture.memory import MAX_ENTRIES, MemoryHistory, addresses_of, living_tensors, memory_table
from profkit.capture.steps import Step
from profkit.models.weights import UnknownWeightsError, decode_weights
from profkit.record import Meta


@dataclass
class Notes:
    """What a record says beside its numbers."""

    warnings: list[str] = field(default_factory=list)
    not_measured: dict[str, str] = field(default_factory=dict)  # what: why


def note_steps(steps: pa.Table, forward: ForwardWatcher, modules: Sequence[Any], notes: Notes) -> None:
    """What was seen of the `modules` that is no step, and why there is none."""
    notes.warnings += forward.notes
    packed = forward.packed_calls
    if len(steps):
        if packed:
            notes.warnings.append(f"{packed} calls that pack several requests are not among the steps.")
        return
    if not modules:
        reason = (
            "the cell names no model (an nn.Module) that existed when it began: make it in a cell of its own, "
            "name it with --model, or mark steps with profkit.step"
        )
    elif packed:
        reason = (
            "each call of the model packs several requests, some reading their prompt and some decoding "
            "(continuous batching): mark steps with profkit.step"
        )
    elif forward.other_calls:
        reason = "the model was called without token ids or embeddings"
    else:
        names = ", ".join(sorted({type(module).__name__ for module in modules}))
        reason = (
            f"no forward pass of the {names} that existed when it began was seen: the cell made another, or a "
            "compiled function or a replayed CUDA graph hides it; mark steps with profkit.step"
        )
    notes.not_measured["steps"] = reason


def note_weights(meta: Meta, models: Sequence[Any], gpus: Sequence[int], notes: Notes) -> None:
    """What a decode step of the `models` that ran steps must read, for its floor."""
    if not gpus:
        notes.not_measured["floor"] = notes.not_measured["gpu_busy"]
    elif len(models) != 1:
        reason = f"{len(models)} models ran steps" if models else "no step of a model was seen"
        notes.not_measured["floor"] = reason
    else:
        try:
            meta.decode_weight_bytes, meta.decode_device = decode_weights(models[0])
        except UnknownWeightsError as reason:
            notes.not_measured["floor"] = str(reason)


def memory_of(
    memory: MemoryHistory, kv: KVRecorder, modules: Sequence[Any], start_unix_ns: int, begin: int, notes: Notes
) -> pa.Table:
    """The table `memory`; times count from `begin`, record time of a clock that began at `start_unix_ns`."""
    histories = memory.stop()
    for device, history in histories.items():
        if history.entries >= MAX_ENTRIES:
            notes.warnings.append(
                f"The allocator of GPU {device} did more than {MAX_ENTRIES:,} things: the history of its memory "
                "reaches back over the last of them only. Profile fewer steps to have all."
            )
        if history.unread:
            notes.warnings.append(
                f"{history.unread} entries of the history of GPU {device}'s memory do not fit together: "
                "its curve is off by as many allocations."
            )
    weights = addresses_of(modules)
    pointers = [(time - begin, addresses) for time, addresses in kv.pointers]
    return memory_table(histories, start_unix_ns + begin, weights, pointers, living_tensors() if histories else set())


def kv_of(
    kv: KVRecorder, steps: Sequence[Step], begin: int, end: int, masks: bool, notes: Notes
) -> tuple[pa.Table, Formula]:
    """The table `kv` of `steps` and of calls that are none, up to `end`; and what the architecture says of it.

    Times count from `begin`. `masks`: whether the GPU still gives the values of the prompts' masks.
    """
    loose = [reading for reading in kv.loose if reading.time < end]
    table = shifted(kv_table(steps, loose, masks), begin, "time")
    formula: Formula = {}
    try:
        formula = kv_formula(kv)
    except NoFormulaError as reason:
        if len(table):
            notes.not_measured["kv_formula"] = str(reason)
    notes.warnings += kv.notes
    if not len(table):
        notes.not_measured["kv"] = lacks(steps, kv.seen, kv.notes)
    return table, formula


def shifted(table: pa.Table, by: int, *names: str) -> pa.Table:
    """The table with these times counted from `by`."""
    for name in names:
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(name), pc.subtract(table[name], pa.scalar(by, pa.int64())))
    return table
