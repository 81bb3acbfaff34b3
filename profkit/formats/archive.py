"""The `.profkit` file: one zip with `record.json` and a Parquet file for each table.

Nothing in it is executed when it is opened: no pickle, no code, sizes checked before unpacking.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from profkit.errors import RecordError
from profkit.record import SCHEMA_VERSION, SCHEMAS, Meta, Record, conform

SUFFIX: Final = ".profkit"
META_NAME: Final = "record.json"
MAX_UNPACKED_BYTES: Final = 4 * 2**30
"""A record of ten million events takes well under 1 GiB; more than this is no record of ours."""
MAX_META_BYTES: Final = 64 * 2**20
MAX_ROWS: Final = 200_000_000
_ZIP_DATE: Final = (2020, 1, 1, 0, 0, 0)  # the same record gives the same bytes


def save(record: Record, path: str | os.PathLike[str]) -> Path:
    """Write a record; `path` gets `.profkit` if it has no suffix. Returns the path written.

    The file is written aside and renamed, so a full disk or an interrupt leaves an older file as it was.

    Raises:
        RecordError: the file cannot be written.
    """
    target = Path(path)
    if not target.suffix:
        target = target.with_suffix(SUFFIX)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                _add(archive, META_NAME, msgspec.json.format(msgspec.json.encode(record.meta)))
                for name, table in record.tables.items():
                    if len(table):
                        _add(archive, f"{name}.parquet", _parquet(table))
            os.chmod(aside, 0o666 & ~_umask())
            os.replace(aside, target)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RecordError(
            f"cannot save the record to {target}: {error.strerror or error}. "
            "Free some space or choose another folder, then call run.save(path): the run is still in memory."
        ) from error
    return target


def load(path: str | os.PathLike[str]) -> Record:
    """Read a record.

    Raises:
        RecordError: no such file, not a record, damaged, from a newer version, or too large to unpack.
    """
    source = Path(path)
    if not source.exists() and not source.suffix:
        source = source.with_suffix(SUFFIX)
    try:
        with zipfile.ZipFile(source) as archive:
            return _read(archive, source)
    except FileNotFoundError:
        raise RecordError(f"no record at {source}") from None
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise RecordError(f"{source} is not a .profkit record, or it is damaged: {error}") from error


def _read(archive: zipfile.ZipFile, source: Path) -> Record:
    sizes = {info.filename: info.file_size for info in archive.infolist()}
    if META_NAME not in sizes:
        raise RecordError(f"{source} is a zip file but not a .profkit record: it has no {META_NAME}")
    if sum(sizes.values()) > MAX_UNPACKED_BYTES or sizes[META_NAME] > MAX_META_BYTES:
        raise RecordError(
            f"{source} would unpack to {sum(sizes.values()) / 2**30:.1f} GiB; "
            f"records are at most {MAX_UNPACKED_BYTES / 2**30:.0f} GiB"
        )
    raw = archive.read(META_NAME)
    _check_version(raw, source)
    try:
        meta = msgspec.json.decode(raw, type=Meta)
    except msgspec.DecodeError as error:
        raise RecordError(f"{source}: {META_NAME} is not a record's metadata: {error}") from error
    tables = {}
    for name in SCHEMAS:
        if f"{name}.parquet" in sizes:
            tables[name] = _table(archive.read(f"{name}.parquet"), name, source)
    record = Record(meta, **tables)
    _check_references(record, source)
    return record


def _check_version(raw: bytes, source: Path) -> None:
    class Version(msgspec.Struct):
        schema_version: int

    try:
        version = msgspec.json.decode(raw, type=Version).schema_version
    except msgspec.DecodeError as error:
        raise RecordError(f"{source}: {META_NAME} is not a record's metadata: {error}") from error
    if version > SCHEMA_VERSION:
        raise RecordError(
            f"{source} has schema version {version}, this profkit reads up to {SCHEMA_VERSION}: update profkit"
        )


def _table(data: bytes, name: str, source: Path) -> pa.Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        rows, width = file.metadata.num_rows, file.metadata.num_columns
        unpacked = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        if rows > MAX_ROWS or unpacked > MAX_UNPACKED_BYTES or width > 4 * len(SCHEMAS[name]) + 16:
            raise RecordError(f"{source}: table {name!r} claims {rows:,} rows, more than a record can have")
        return conform(name, file.read())
    except pa.ArrowException as error:
        raise RecordError(f"{source}: table {name!r} is damaged: {error}") from error


def _check_references(record: Record, source: Path) -> None:
    """Rows that other tables point to must exist: an index out of range would be a wrong number."""
    import numpy as np

    limits = (
        ("events", "op", len(record.events)),
        ("events", "step", len(record.steps)),
        ("kernels", "event", len(record.events)),
        ("kv", "step", len(record.steps)),
    )
    for table, column, limit in limits:
        values = record.tables[table][column]
        if values.null_count:
            raise RecordError(f"{source}: column {table}.{column} has empty cells")
        array = values.to_numpy()
        if len(array) and (array.min() < -1 or array.max() >= limit):
            raise RecordError(f"{source}: column {table}.{column} points to rows that do not exist")
    starts = record.events["start"].to_numpy()
    if len(starts) and (np.diff(starts) < 0).any():
        raise RecordError(f"{source}: events are not in order of start")


def _parquet(table: pa.Table) -> bytes:
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


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
