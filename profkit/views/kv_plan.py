"""What does a memory plan say: in one sentence, in figures and tables, as text and as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from profkit.models.plan import MemoryPlan
from profkit.models.shape import MlpKind
from profkit.views import html, kv_plan_chart, terminal
from profkit.views.content import KeyFigure
from profkit.views.format import count, memory, number, plural, share
from profkit.views.sheet import Sheet, Table


def text(plan: MemoryPlan) -> str:
    """For a terminal."""
    return terminal.sheet(sheet(plan))


def fragment(plan: MemoryPlan, tables: bool = True) -> str:
    """For a page; without its tables, what changes with a slider."""
    whole = sheet(plan)
    return html.sheet(whole if tables else replace(whole, tables=()), kv_plan_chart.svg(plan))


def sheet(plan: MemoryPlan) -> Sheet:
    """Its words."""
    tables = [_layers(plan), _savings(plan)]
    if plan.lengths is not None:
        tables.append(_lengths(plan))
    return Sheet(
        title=f"KV plan of {model(plan)}",
        byline=setup(plan),
        sentence=sentence(plan),
        figures=tuple(_figures(plan)),
        tables=tuple(tables),
        notes=plan.notes,
    )


def model(plan: MemoryPlan) -> str:
    """``llama, 8.03 B parameters``."""
    weights = plan.shape.weights
    if weights.parameters is None:
        return plan.shape.model_type
    of_experts = any(group.kind is MlpKind.MOE for group in plan.shape.mlps)
    active = f", {_parameters(weights.active_parameters or 0)} active" if of_experts else ""
    return f"{plan.shape.model_type}, {_parameters(weights.parameters)} parameters{active}"


def _parameters(parameters: int) -> str:
    for unit, factor in (("B", 10**9), ("M", 10**6)):
        if parameters >= factor:
            return f"{number(parameters / factor)} {unit}"
    return count(parameters)


def setup(plan: MemoryPlan) -> str:
    """What was planned for."""
    gpus = plan.request.tensor_parallel
    where = "" if plan.gpu is None else plan.gpu.name
    if gpus > 1:
        where = f"{gpus} × {where or 'GPU'}, sizes of each"
    pages = f", pages of {plan.request.page} tokens" if plan.request.page else ""
    return ", ".join(filter(None, (where, f"weights {plan.weights_dtype}", f"cache {plan.kv_dtype}"))) + pages


def sentence(plan: MemoryPlan) -> str:
    """What fits."""
    context, batch = plural(plan.context, "token"), plural(plan.batch, "sequence")
    if plan.max_batch is None:
        return f"{batch} of {context}: {memory(plan.cache_bytes)} of KV cache."
    if (plan.room_bytes or 0) < 0:
        return f"The weights alone take {memory(plan.weights_bytes)}: they do not fit."
    if plan.max_batch == 0:
        fits = f"Not one sequence of {context} fits"
    else:
        verb = "fits" if plan.max_batch == 1 else "fit"
        fits = f"{plural(plan.max_batch, 'sequence')} of {context} {verb}"
    if not plan.max_context:
        return f"{fits}; at batch {count(plan.batch)} not one token of context does."
    return f"{fits}; at batch {count(plan.batch)} the longest context is {plural(plan.max_context, 'token')}."


def _figures(plan: MemoryPlan) -> Iterator[KeyFigure]:
    yield KeyFigure("Largest batch", count(plan.max_batch), f"at {plural(plan.context, 'token')} of context")
    yield KeyFigure("Longest context", count(plan.max_context), f"at batch {count(plan.batch)}")
    growing = "" if plan.bytes_per_token else "every window is full"
    yield KeyFigure("Next token", memory(plan.bytes_per_token), growing or f"at {plural(plan.context, 'token')}")
    yield KeyFigure("One sequence", memory(plan.sequence_bytes), f"of {plural(plan.context, 'token')}")
    yield KeyFigure("KV cache", memory(plan.cache_bytes), f"batch {count(plan.batch)}")
    yield KeyFigure("Weights", memory(plan.weights_bytes), plan.weights_dtype)
    yield KeyFigure("Logits of a step", memory(plan.logits_bytes), "16 bits, and fp32 for sampling")
    if plan.gpu is not None:
        yield KeyFigure("Left", memory(plan.free_bytes), f"of {memory(plan.gpu.memory_bytes)}")
        yield KeyFigure("Overhead", memory(plan.gpu.overhead_bytes), plan.gpu.overhead)


def _layers(plan: MemoryPlan) -> Table:
    head = ("layers", "KV heads", "dimensions", "window", "a token", "a sequence", "share")
    rows = []
    for row in plan.layers.to_dict("records"):
        keys, values = row["head_dim"], row["value_dim"]
        dims = "state" if pd.isna(keys) else count(keys) if keys == values else f"{count(keys)} + {count(values)}"
        rows.append(
            (
                f"{row['count']} {row['kind']}",
                "" if pd.isna(row["kv_heads"]) else count(row["kv_heads"]),
                dims,
                "" if pd.isna(row["window"]) else count(row["window"]),
                memory(row["bytes_per_token"]),
                memory(row["sequence_bytes"]),
                share(row["share"]),
            )
        )
    return Table(f"What one sequence of {plural(plan.context, 'token')} caches", head, tuple(rows))


def _savings(plan: MemoryPlan) -> Table:
    first = plan.savings[0].sequence_bytes
    rows = tuple(
        (saving.what, memory(saving.sequence_bytes), share(saving.sequence_bytes / first) if first else "")
        for saving in plan.savings
    )
    return Table("From plain multi-head attention to this cache, step by step", ("", "a sequence", "of plain"), rows)


def _lengths(plan: MemoryPlan) -> Table:
    found = plan.lengths
    assert found is not None
    rows = (
        ("on average", f"mean {number(found.mean_tokens)} tokens", count(found.at_mean)),
        ("in 19 of 20 draws", "as given", count(found.in_19_of_20)),
        ("all as long as the p95", f"{count(found.p95_tokens)} tokens", count(found.at_p95)),
    )
    return Table(f"Sequences of your {plural(found.samples, 'length')} that fit", ("", "length", "sequences"), rows, 2)
