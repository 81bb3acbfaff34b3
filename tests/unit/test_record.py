"""The tables of a record: their columns hold whatever a reader brings, or it is an error that says which."""

import pyarrow as pa
import pytest
from unit import records

from profkit.errors import RecordError
from profkit.record import GPU_WORK, SCHEMAS, EventKind, Meta, Metric, Phase, Record, conform


def steps(**columns):
    table = records.rows(SCHEMAS["steps"], [records.step(Phase.DECODE, 0, 1, 1)])
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


def test_a_record_without_tables_has_empty_ones():
    record = Record(Meta(name="empty"))
    assert {name: table.schema for name, table in record.tables.items()} == SCHEMAS
    assert not any(len(table) for table in record.tables.values())


def test_a_table_that_fits_is_taken_as_it_is():
    table = steps()
    assert conform("steps", table) is table or conform("steps", table).equals(table)


def test_columns_come_in_order_and_further_ones_go():
    table = steps().append_column("mood", pa.array(["good"]))
    shuffled = table.select(sorted(table.column_names))
    assert conform("steps", shuffled).schema.equals(SCHEMAS["steps"])


def test_columns_of_a_similar_type_are_cast():
    record = Record(Meta(name="cast"), steps=steps(batch=pa.array([3], pa.int64()), phase=["decode"]))
    assert record.steps.schema.equals(SCHEMAS["steps"])
    assert record.steps["batch"].to_pylist() == [3]


@pytest.mark.parametrize(
    ("columns", "name"),
    [({"batch": [2**40]}, "1099511627776"), ({"start": ["soon"]}, "soon"), ({"start": [1.5]}, "truncated")],
)
def test_a_value_that_does_not_fit_is_an_error_and_never_another_value(columns, name):
    with pytest.raises(RecordError, match=f"table 'steps' does not fit its schema.*{name}"):
        conform("steps", steps(**columns))


def test_missing_columns_are_named():
    with pytest.raises(RecordError, match="table 'steps' has no column start, end"):
        conform("steps", steps().drop_columns(["start", "end"]))


def test_every_metric_has_a_label_and_stores_its_name():
    assert all(metric.label for metric in Metric)
    assert Metric("power_w") is Metric.POWER
    assert (str(Metric.POWER.value), Metric.POWER.unit) == ("power_w", "W")


def test_gpu_work_is_what_keeps_a_gpu_busy():
    assert {str(kind) for kind in GPU_WORK} == {"kernel", "memcpy", "memset"}
    assert set(GPU_WORK) < set(EventKind)


def test_two_records_have_two_ids():
    assert Meta(name="a").id != Meta(name="a").id
