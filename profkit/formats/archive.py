"""The `.profkit` file: one zip with `record.json` and a Parquet file for each table.

Nothing in it is executed when it is opened: no pickle, no code, sizes checked before unpacking.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from profkit.errors import RecordError
from profkit.formats.files import replacing
from profkit.record import EVENTS, KV, SCHEMA_VERSION, SCHEMAS, EventKind, MemoryKind, Meta, Phase, Record, conform

SUFFIX: Final = ".profkit"
META_NAME: Final = "record.json"
MAX_UNPACKED_BYTES: Final = 4 * 2**30
"""A record of ten million events takes well under 1 GiB; more than this is no record of ours."""
MAX_META_BYTES: Final = 64 * 2**20
_REQUIRED: Final = {
    "events": tuple(EVENTS.names),
    "kernels": ("event",),
    "telemetry": ("time", "device", "metric"),
    "steps": ("sent", "start", "end", "host_duration", "phase", "batch", "query_tokens", "generation"),
    "kv": ("step", "layer_kind"),
    "memory": ("device", "size", "category"),
    "ops": ("event", "inputs"),
}
"""Columns without empty cells: what they hold is always known."""
_ADDED: Final = {"kv": ("time", "device", "layers", "sequences", "capacity_bytes", "padding_bytes", "inactive")}
"""Columns that the first files of this schema version do not have."""
_ZIP_DATE: Final = (2020, 1, 1, 0, 0, 0)  # the same record gives the same bytes


class _Head(msgspec.Struct):
    """What is checked before and after the rest of `record.json` is read."""

    schema_version: int
    rows: dict[str, int] | None = None  # of each table


def save(record: Record, path: str | os.PathLike[str]) -> Path:
    """Write a record; `path` gets `.profkit` if it has no suffix. Returns the path written.

    The file is written aside and renamed, so a full disk or an interrupt leaves an older file as it was.

    Raises:
        RecordError: the file cannot be written.
    """
    target = Path(path)
    if not target.suffix:
        target = target.with_suffix(SUFFIX)
    write(target, members(record), "call run.save(path): the run is still in memory")
    return target


def members(record: Record) -> dict[str, bytes]:
    """The files in a record's zip, by name."""
    tables = {name: table for name, table in record.tables.items() if len(table)}
    meta = msgspec.to_builtins(record.meta) | {"rows": {name: len(tables[name]) for name in tables}}
    files = {META_NAME: msgspec.json.format(msgspec.json.encode(meta))}
    return files | {f"{name}.parquet": parquet(table) for name, table in tables.items()}


def zipped(files: Mapping[str, bytes], into: IO[bytes]) -> None:
    """Write a zip with these files; the same files give the same bytes."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), data)


def write(target: Path, files: Mapping[str, bytes], remedy: str) -> None:
    """Write a zip with these files aside, then rename it to `target`.

    Raises:
        RecordError: it cannot be written; `remedy` is what to do once there is space.
    """
    try:
        with replacing(target) as file:
            zipped(files, file)
    except OSError as error:
        raise RecordError(
            f"cannot save the record to {target}: {error.strerror or error}. "
            f"Free some space or choose another folder, then {remedy}."
        ) from error


def load(path: str | os.PathLike[str]) -> Record:
    """Read a record.

    Raises:
        RecordError: no such file, not a record, damaged, from a newer version, or too large to unpack.
    """
    source = Path(path)
    try:
        if not source.suffix and not source.exists():
            source = source.with_suffix(SUFFIX)
        with open_zip(source, source) as archive:
            return read(archive, source)
    except FileNotFoundError:
        raise RecordError(f"no record at {source}") from None


@contextlib.contextmanager
def open_zip(file: Path | IO[bytes], source: Path) -> Iterator[zipfile.ZipFile]:
    """A zip whose directory agrees with its data.

    Raises:
        RecordError: it is damaged, no zip, or cannot be read; FileNotFoundError is left as it is.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                archive.open(info).close()  # refuses a name that is not the one in front of the data
            yield archive
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecordError(f"cannot read {source}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise RecordError(f"{source} is not a .profkit record, or it is damaged: {error}") from error


def head(archive: zipfile.ZipFile, name: str, source: Path, version: int, what: str) -> tuple[bytes, dict[str, int]]:
    """The bytes of the metadata file `name`, and the rows of each table as it tells them.

    Raises:
        RecordError: there is none, it or the whole would unpack to too much, or a newer version wrote it.
    """
    found = {info.filename: info for info in archive.infolist()}
    if name not in found:
        raise RecordError(f"{source} is a zip file but not {what}: it has no {name}")
    _check_size(found[name].file_size, f"{source}: {name}", MAX_META_BYTES)
    _check_size(sum(info.file_size for info in found.values()), source)
    raw = unpack(archive, found[name], source)
    return raw, _head(raw, name, source, version)


def read(archive: zipfile.ZipFile, source: Path) -> Record:
    """The record in an open zip.

    Raises:
        RecordError: it is none, or damaged, or too large.
    """
    raw, expected = head(archive, META_NAME, source, SCHEMA_VERSION, "a .profkit record")
    members = {info.filename: info for info in archive.infolist()}
    unpacked = sum(info.file_size for info in members.values())
    try:
        meta = msgspec.json.decode(raw, type=Meta)
    except msgspec.DecodeError as error:
        raise RecordError(f"{source}: {META_NAME} is not a record's metadata: {error}") from error
    tables = {}
    for name in SCHEMAS:
        if f"{name}.parquet" in members:
            table = _table(unpack(archive, members[f"{name}.parquet"], source), name, source, unpacked)
            unpacked += table.nbytes
            tables[name] = table
    record = Record(meta, **tables)
    check_rows(expected, {name: len(table) for name, table in record.tables.items()}, source)
    _check_references(record, source)
    _check_values(record, source)
    return record


def check_rows(expected: Mapping[str, int], found: Mapping[str, int], source: Path) -> None:
    """A damaged directory of the zip can hide a table."""
    for name, rows in expected.items():
        if found.get(name, 0) != rows:
            raise RecordError(f"{source} is damaged: {found.get(name, 0)} of {rows} rows of table {name!r} are in it")


def _check_size(unpacked: int, what: object, limit: int = MAX_UNPACKED_BYTES) -> None:
    if unpacked > limit:
        raise RecordError(
            f"{what} would unpack to {unpacked / 2**20:,.0f} MiB; in a record it is at most {limit / 2**20:,.0f} MiB"
        )


def unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: Path) -> bytes:
    """A member's bytes: at most as many as it declares, whatever its data would unpack to."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RecordError(f"{source}: {info.filename} is compressed in a way that records are not")
    with archive.open(info) as file:
        return file.read(info.file_size)


def _head(raw: bytes, name: str, source: Path, version: int) -> dict[str, int]:
    try:
        found = msgspec.json.decode(raw, type=_Head)
    except msgspec.DecodeError as error:
        raise RecordError(f"{source}: {name} is not a record's metadata: {error}") from error
    if found.schema_version > version:
        raise RecordError(
            f"{source} has schema version {found.schema_version}, this profkit reads up to {version}: update profkit"
        )
    return found.rows or {}


def _table(data: bytes, name: str, source: Path, before: int) -> pa.Table:
    table = table_in(data, SCHEMAS[name], name, source, before)
    for column in _ADDED.get(name, ()):
        if column not in table.column_names:
            table = table.append_column(column, pa.nulls(len(table), SCHEMAS[name].field(column).type))
    try:
        return conform(name, table)
    except KeyError as error:
        raise RecordError(f"{source}: table {name!r} is damaged: {error}") from error


def table_in(data: bytes, schema: pa.Schema, name: str, source: Path, before: int) -> pa.Table:
    """The columns of `schema` that a Parquet file has; `before` bytes were unpacked already.

    Raises:
        RecordError: it is damaged, or would unpack to too much.
    """
    words = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    try:
        known = pq.read_schema(pa.BufferReader(data)).names
        # Words stay in their dictionaries and unknown columns unread: what is not in `rows` cannot grow.
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=[word for word in words if word in known])
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        encoded = sum(group.total_byte_size for group in groups)
        rows = sum(group.num_rows for group in groups)
        _check_size(before + max(encoded, rows * sum(map(_cell_bytes, schema.types))), source)
        return file.read(columns=schema.names)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise RecordError(f"{source}: table {name!r} is damaged: {error}") from error


def _cell_bytes(kind: pa.DataType) -> int:
    """What a cell of this type takes in memory."""
    if pa.types.is_dictionary(kind):
        return _cell_bytes(kind.index_type)
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _cell_bytes(kind.value_type)
    return int(kind.bit_width) // 8


LONGEST_NS: Final = 2**60
"""36 years: a time beyond it is damage, and sums of such times would overflow."""


_LARGEST: Final = 2**56
"""64 PiB, and as many tokens."""
_RANGES: Final = (
    *((table, "start", "times", -LONGEST_NS, LONGEST_NS) for table in ("events", "steps", "memory")),
    *((table, "end", "times", -LONGEST_NS, LONGEST_NS) for table in ("steps", "memory")),
    ("events", "duration", "times", 0, LONGEST_NS),
    ("memory", "size", "sizes", 0, _LARGEST),
    *(("kv", column, "sizes", 0, _LARGEST) for column in KV.names[KV.names.index("layers") :]),
)


def _check_values(record: Record, source: Path) -> None:
    """What a stranger's file claims must be something that a profile can be."""
    import numpy as np

    meta = record.meta
    for name in ("wall_ns", "host_wall_ns"):
        if not 0 <= getattr(meta, name) < LONGEST_NS:
            raise RecordError(f"{source}: {name} is {getattr(meta, name)}, which no profile takes")
    check_environment(meta.environment, source)
    for table, column, what, lowest, limit in _RANGES:
        values = pc.drop_null(record.tables[table][column]).to_numpy()
        if len(values) and not (lowest <= values.min() and values.max() < limit):
            raise RecordError(f"{source}: column {table}.{column} holds {what} that no profile has")
    for table, column, known in (
        ("events", "kind", EventKind),
        ("steps", "phase", Phase),
        ("memory", "category", MemoryKind),
    ):
        words = set(pc.unique(record.tables[table][column].cast(pa.string())).to_pylist())
        if strange := words - set(map(str, known)):
            raise RecordError(f"{source}: column {table}.{column} holds {sorted(map(str, strange))[0]!r}")
    if np.isinf(record.telemetry["value"].to_numpy()).any():
        raise RecordError(f"{source}: column telemetry.value is infinite somewhere")


def check_environment(environment: Mapping[str, Any], source: Path) -> None:
    """Captions read the GPUs' names and the packages' versions."""
    gpus = environment.get("gpus") or []
    if not isinstance(gpus, list) or not all(isinstance(g, dict) and isinstance(g.get("name"), str) for g in gpus):
        raise RecordError(f"{source}: environment.gpus is no list of GPUs with names")
    if not isinstance(environment.get("packages") or {}, dict):
        raise RecordError(f"{source}: environment.packages is no table of versions")


def _check_references(record: Record, source: Path) -> None:
    """Rows that other tables point to must exist: an index out of range would be a wrong number."""
    import numpy as np

    for table, columns in _REQUIRED.items():
        for column in columns:
            if record.tables[table][column].null_count:
                raise RecordError(f"{source}: column {table}.{column} has empty cells")
    limits = (
        ("events", "op", -1, len(record.events)),
        ("events", "step", -1, len(record.steps)),
        ("kernels", "event", 0, len(record.events)),
        ("kv", "step", -1, len(record.steps)),
        ("ops", "event", 0, len(record.events)),
    )
    for table, column, lowest, limit in limits:
        array = record.tables[table][column].to_numpy()
        if len(array) and (array.min() < lowest or array.max() >= limit):
            raise RecordError(f"{source}: column {table}.{column} points to rows that do not exist")
    starts = record.events["start"].to_numpy()
    if len(starts) and (np.diff(starts) < 0).any():
        raise RecordError(f"{source}: events are not in order of start")


def parquet(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    sink = pa.BufferOutputStream()
    numbers = [f.name for f in table.schema if pa.types.is_integer(f.type)]
    pq.write_table(
        table,
        sink,
        compression="zstd",
        # Times rise steadily and ids repeat a pattern: their differences pack far smaller than they do.
        use_dictionary=[f.name for f in table.schema if pa.types.is_dictionary(f.type)],
        column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
        write_statistics=False,
        store_schema=True,
    )
    return sink.getvalue().to_pybytes()
