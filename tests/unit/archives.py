"""The content of a record, and `.profkit` files that are changed behind profkit's back."""

import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq


def content(record):
    return record.meta, {name: table.to_pylist() for name, table in record.tables.items()}


def rewrite(path, change, **options):
    """The file with its members, as a dict of bytes, changed."""
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", **options) as target:
        for name, data in members.items():
            target.writestr(name, data)


def edit_meta(path, **changes):
    def change(members):
        members["record.json"] = json.dumps(json.loads(members["record.json"]) | changes).encode()

    rewrite(path, change)


def edit_table(path, name, change):
    def rewritten(members):
        table = change(pq.read_table(pa.BufferReader(members[f"{name}.parquet"])))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        members[f"{name}.parquet"] = sink.getvalue().to_pybytes()

    rewrite(path, rewritten)


def set_first(column, value):
    def change(table):
        at = table.column_names.index(column)
        values = [value, *table[column].to_pylist()[1:]]
        return table.set_column(at, column, pa.array(values, table[column].type))

    return change


def with_column(table, name, values):
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array(values).dictionary_encode())
