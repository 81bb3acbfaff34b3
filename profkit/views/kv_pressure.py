"""What does a simulated cache say: in one sentence and one table, as text and as HTML."""

from __future__ import annotations

from typing import Any

import pandas as pd

from profkit.analysis.kv_pressure import EVERYONE, POLICIES, Pressure
from profkit.views import html, terminal
from profkit.views.content import KeyFigure
from profkit.views.format import count, duration, plural, share
from profkit.views.sheet import Sheet, Table


def text(found: Pressure) -> str:
    """For a terminal."""
    return terminal.sheet(sheet(found))


def fragment(found: Pressure) -> str:
    """For a page."""
    return html.sheet(sheet(found))


def sheet(found: Pressure) -> Sheet:
    """Its words."""
    head = ("policy", "tenant", "turns", "refused", "waited", "hit share", "computed twice", "forgotten")
    rows = tuple(_row(row) for row in found.table.to_dict("records"))
    whole = found.table[found.table["tenant"] == EVERYONE]
    figures = tuple(
        KeyFigure(f"Hit share, {row['policy']}", _share(row["hit_share"]), f"worst off: {found.worst(row['policy'])}")
        for row in whole.to_dict("records")
    )
    return Sheet(
        title="KV cache under pressure",
        byline=f"{plural(found.capacity, 'token')} of cache, simulated",
        sentence=sentence(found),
        figures=figures,
        tables=(Table("By policy and tenant", head, rows, 2),),
        notes=tuple(f"{policy}: {POLICIES[policy]}" for policy in found.policies),
    )


def sentence(found: Pressure) -> str:
    """Which policy computes least a second time without refusing or forgetting anything, and who is worst off."""
    whole = found.table[found.table["tenant"] == EVERYONE]
    served = whole[(whole["refused"] == 0) & (whole["forgotten_tokens"] == 0)]
    if served.empty:
        return "Every policy refuses turns or forgets tokens: the cache is too small for these sessions."
    best = served.sort_values("recompute_tokens", kind="stable").iloc[0]
    policy = str(best["policy"])
    worst = found.worst(policy)
    rows = found.table[(found.table["policy"] == policy) & (found.table["tenant"] == worst)]
    return (
        f"Of the policies that serve every turn in full, {policy} computes least a second time: "
        f"{plural(int(best['recompute_tokens']), 'token')}; {worst} finds {_share(rows['hit_share'].iloc[0])} "
        "of its history in the cache."
    )


def _row(row: dict[Any, Any]) -> tuple[str, ...]:
    return (
        row["policy"],
        row["tenant"],
        count(row["turns"]),
        count(row["refused"]),
        duration(1e9 * row["waited_s"]) if row["waited_s"] else "",
        _share(row["hit_share"]),
        count(row["recompute_tokens"]),
        count(row["forgotten_tokens"]),
    )


def _share(part: Any) -> str:
    return share(None if pd.isna(part) else float(part))
