"""The `.profsweep` file: one zip with `sweep.json`, two Parquet files, and a `.profkit` record of each traced point.

Nothing in it is executed when it is opened; sizes are checked before unpacking, as of a `.profkit`.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profkit.analysis.sweep import (
    SAMPLES,
    SCHEMA_VERSION,
    SLOS,
    Status,
    SweepData,
    SweepMeta,
    SweepPhase,
    points_schema,
)
from profkit.errors import RecordError
from profkit.formats import archive
from profkit.record import Record

SUFFIX: Final = ".profsweep"
META_NAME: Final = "sweep.json"
MAX_POINTS: Final = 10_000
MAX_WORDS: Final = 10_000
"""Points of a grid, and letters of a message or of a value of an axis: more is no sweep of ours."""
_RUN: Final = re.compile(r"runs/(\d{1,6})\.profkit")


def save(data: SweepData, runs: Mapping[int, bytes], path: str | os.PathLike[str]) -> Path:
    """Write a sweep; `path` gets `.profsweep` if it has no suffix. Returns the path written.

    Args:
        data: the sweep.
        runs: by number of the point, records as `packed` gives them.
        path: an older file there is replaced once the new one is whole.

    Raises:
        RecordError: the file cannot be written.
    """
    target = Path(path)
    if not target.suffix:
        target = target.with_suffix(SUFFIX)
    meta = msgspec.to_builtins(data.meta) | {"rows": {"points": len(data.points), "samples": len(data.samples)}}
    files = {
        META_NAME: msgspec.json.format(msgspec.json.encode(meta)),
        "points.parquet": archive.parquet(data.points),
        "samples.parquet": archive.parquet(data.samples),
        **{f"runs/{number}.profkit": run for number, run in sorted(runs.items())},
    }
    archive.write(target, files, "call sweep.save(path): the sweep is still in memory")
    return target


def load(path: str | os.PathLike[str]) -> tuple[SweepData, dict[int, bytes]]:
    """Read a sweep, and the records of its traced points as `unpacked` takes them.

    Raises:
        RecordError: no such file, not a sweep, damaged, from a newer version, or too large to unpack.
    """
    source = Path(path)
    if not source.suffix and not source.exists():
        source = source.with_suffix(SUFFIX)
    try:
        with archive.open_zip(source, source) as opened:
            return _read(opened, source)
    except FileNotFoundError:
        raise RecordError(f"no sweep at {source}") from None


def packed(record: Record) -> bytes:
    """A record as the bytes of its `.profkit` file."""
    file = io.BytesIO()
    archive.zipped(archive.members(record), file)
    return file.getvalue()


def unpacked(data: bytes, source: Path) -> Record:
    """The record in the bytes of a `.profkit` file.

    Raises:
        RecordError: it is damaged, or would unpack to too much.
    """
    with archive.open_zip(io.BytesIO(data), source) as opened:
        return archive.read(opened, source)


def is_sweep(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a zip that says it is a sweep."""
    try:
        with zipfile.ZipFile(path) as opened:
            return META_NAME in opened.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _read(opened: zipfile.ZipFile, source: Path) -> tuple[SweepData, dict[int, bytes]]:
    raw, expected = archive.head(opened, META_NAME, source, SCHEMA_VERSION, "a sweep")
    try:
        meta = msgspec.json.decode(raw, type=SweepMeta)
    except msgspec.DecodeError as error:
        raise RecordError(f"{source}: {META_NAME} is not a sweep's metadata: {error}") from error
    inside = {info.filename: info for info in opened.infolist()}
    unpacked_bytes = sum(info.file_size for info in inside.values())
    tables = {}
    for name, schema in (("points", _schema(meta, source)), ("samples", SAMPLES)):
        file = inside.get(f"{name}.parquet")
        if file is None:
            raise RecordError(f"{source} is damaged: it has no {name}.parquet")
        table = archive.table_in(archive.unpack(opened, file, source), schema, name, source, unpacked_bytes)
        tables[name] = _cast(table, schema, name, source)
        unpacked_bytes += table.nbytes
    archive.check_rows(expected, {name: len(table) for name, table in tables.items()}, source)
    data = SweepData(meta, **tables)
    _check(data, source)
    found = {int(match[1]): info for name, info in inside.items() if (match := _RUN.fullmatch(name))}
    return data, {number: archive.unpack(opened, info, source) for number, info in found.items()}


def _schema(meta: SweepMeta, source: Path) -> pa.Schema:
    try:
        return points_schema(meta)
    except (pa.ArrowException, OverflowError) as error:
        raise RecordError(f"{source}: the values of an axis are of several kinds: {error}") from error


def _cast(table: pa.Table, schema: pa.Schema, name: str, source: Path) -> pa.Table:
    missing = [column for column in schema.names if column not in table.column_names]
    if missing:
        raise RecordError(f"{source}: table {name!r} has no column {', '.join(missing)}")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise RecordError(f"{source}: table {name!r} does not fit its schema: {error}") from error


def _check(data: SweepData, source: Path) -> None:
    """What a stranger's file claims must be something that a sweep can be."""
    meta, points, samples = data.meta, data.points, data.samples
    archive.check_environment(meta.environment, source)
    texts = [points[field.name] for field in points.schema if pa.types.is_dictionary(field.type)]
    longest = max(
        (pc.max(pc.utf8_length(chunk.dictionary)).as_py() or 0 for text in texts for chunk in text.chunks), default=0
    )
    if len(points) > MAX_POINTS or longest > MAX_WORDS:
        raise RecordError(f"{source}: {len(points):,} points, words of {longest:,} letters: no sweep has so many")
    if unknown := meta.slo_ns.keys() - SLOS.keys():
        raise RecordError(f"{source}: {sorted(unknown)[0]!r} is no objective that profkit knows")
    if any(limit <= 0 for limit in meta.slo_ns.values()) or not 0 <= meta.wall_ns < archive.LONGEST_NS:
        raise RecordError(f"{source}: a time in {META_NAME} is one that no sweep has")
    for table, column, known in ((points, "status", Status), (samples, "phase", SweepPhase)):
        words = set(pc.unique(table[column].cast(pa.string())).to_pylist())
        if strange := words - set(map(str, known)):
            raise RecordError(f"{source}: column {column} holds {sorted(map(str, strange))[0]!r}")
    for table, columns in ((points, ("point", "status", *meta.axes)), (samples, ("point", "phase", "duration_ns"))):
        for column in columns:
            if table[column].null_count:
                raise RecordError(f"{source}: column {column} has empty cells")
    numbers = points["point"].to_pylist()
    if len(set(numbers)) != len(numbers) or not set(pc.unique(samples["point"]).to_pylist()) <= set(numbers):
        raise RecordError(f"{source}: samples belong to points that do not exist, or to two of one number")
    for name, values in meta.axes.items():
        if not set(points[name].to_pylist()) <= set(values):
            raise RecordError(f"{source}: column {name} holds values that are not on its axis")
    durations = samples["duration_ns"].to_numpy()
    if len(durations) and not (durations.min() >= 0 and np.max(durations) < archive.LONGEST_NS):
        raise RecordError(f"{source}: column duration_ns holds times that no sweep has")
