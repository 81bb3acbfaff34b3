"""How does the KV cache grow, what does a token cost, what is wasted, and when is the GPU full?"""

from __future__ import annotations

import pandas as pd

from profkit.analysis.steps import nullable
from profkit.record import Record


def kv_frame(record: Record) -> pd.DataFrame:
    """`kv` as a DataFrame; absent values are NA, never 0."""
    return record.kv.to_pandas(types_mapper=nullable)
