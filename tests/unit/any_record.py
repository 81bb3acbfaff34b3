"""Records of any content: what a property of every record is tested on."""

import pyarrow as pa
from hypothesis import strategies as st

from profkit.record import SCHEMAS, EventKind, MemoryKind, Meta, Phase, Record

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
REFERENCES = {("events", "op"): "events", ("events", "step"): "steps", ("kv", "step"): "steps"}
ALWAYS_KNOWN = {
    "events": set(SCHEMAS["events"].names),
    "kernels": {"event"},
    "telemetry": {"time", "device", "metric"},
    "steps": {"sent", "start", "end", "host_duration", "phase", "batch", "query_tokens", "generation"},
    "kv": {"step", "layer_kind"},
    "memory": {"device", "size", "category"},
    "requests": set(),
    "ops": {"event", "inputs"},
}


TIMES = st.integers(-(2**60), 2**60 - 1)
KNOWN = {
    ("events", "kind"): st.sampled_from([str(kind) for kind in EventKind]),
    ("events", "start"): TIMES,
    ("events", "duration"): st.integers(0, 2**60 - 1),
    ("steps", "phase"): st.sampled_from([str(phase) for phase in Phase]),
    ("steps", "start"): TIMES,
    ("steps", "end"): TIMES,
    ("memory", "category"): st.sampled_from([str(kind) for kind in MemoryKind]),
    ("memory", "size"): st.integers(0, 2**31 - 1),
    ("memory", "start"): TIMES,
    ("memory", "end"): TIMES,
    **{("kv", name): st.integers(0, 2**31 - 1) for name in SCHEMAS["kv"].names[4:]},
}


def cells(kind):
    """Values of a column's type."""
    if pa.types.is_dictionary(kind):
        return TEXT
    if pa.types.is_floating(kind):
        return st.floats(allow_nan=False, allow_infinity=False)
    if pa.types.is_fixed_size_list(kind):
        return st.lists(cells(kind.value_type), min_size=3, max_size=3)
    edge = 2 ** (kind.bit_width - 1)
    return st.integers(-edge, edge - 1)


@st.composite
def any_record(draw):
    """A small record: any value that a column can hold, references within range, events in order."""
    counts = {name: draw(st.integers(0, 4)) for name in SCHEMAS}
    if not counts["events"]:
        counts["kernels"] = counts["ops"] = 0
    tables = {}
    for name, schema in SCHEMAS.items():
        columns = {}
        for field in schema:
            values = cells(field.type)
            if (name, field.name) in REFERENCES:
                values = st.integers(-1, counts[REFERENCES[name, field.name]] - 1)
            if (name, field.name) in KNOWN:
                values = KNOWN[name, field.name]
            if (name, field.name) in {("kernels", "event"), ("ops", "event")}:
                values = st.integers(0, max(counts["events"] - 1, 0))
            if field.name not in ALWAYS_KNOWN[name]:
                values = st.none() | values
            columns[field.name] = draw(st.lists(values, min_size=counts[name], max_size=counts[name]))
        if name == "events":
            columns["start"].sort()
        tables[name] = pa.table(columns, schema=schema)
    meta = Meta(
        name=draw(TEXT),
        wall_ns=draw(st.integers(0, 2**60 - 1)),
        energy_j=draw(st.dictionaries(st.integers(0, 8), st.floats(0, 1e9), max_size=2)),
        options=draw(st.dictionaries(TEXT, st.booleans() | TEXT | st.none(), max_size=3)),
        warnings=draw(st.lists(TEXT, max_size=2)),
        source=draw(st.none() | TEXT),
    )
    return Record(meta, **tables)
