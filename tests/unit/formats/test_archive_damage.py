"""The `.profkit` file: what is no record, was damaged or unpacks to too much is refused."""

import os
import random
import struct
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit import records
from unit.archives import content, edit_meta, rewrite

from profkit.errors import RecordError
from profkit.formats import archive
from profkit.record import SCHEMAS


def test_no_such_file(tmp_path):
    with pytest.raises(RecordError, match=r"no record at .*nothing"):
        archive.load(tmp_path / "nothing")


def test_a_folder(tmp_path):
    with pytest.raises(RecordError, match=r"cannot read .*: Is a directory"):
        archive.load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"PK", b"{}", b"\x80\x04\x95" + bytes(40), bytes(5_000)])
def test_another_file(tmp_path, data):
    (tmp_path / "run.profkit").write_bytes(data)
    with pytest.raises(RecordError, match=r"not a \.profkit record, or it is damaged"):
        archive.load(tmp_path / "run.profkit")


def test_another_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "run.profkit", "w") as other:
        other.writestr("readme.txt", "hello")
    with pytest.raises(RecordError, match=r"not a .profkit record: it has no record\.json"):
        archive.load(tmp_path / "run.profkit")


def test_a_file_that_may_not_be_read(path):
    path.chmod(0o000)
    me = os.geteuid()
    if me == 0:  # root may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(RecordError, match=r"cannot read .*: Permission denied"):
            archive.load(path)
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RecordError):
        archive.load(path)


def flips(data):
    """200 places all over the file, and every byte of the zip's directory at its end."""
    places = random.Random(0)
    anywhere = [(places.randrange(len(data)), places.randrange(8)) for _ in range(200)]
    directory = data.index(b"PK\x01\x02")
    return anywhere + [(at, places.randrange(8)) for at in range(directory, len(data))]


def test_a_flipped_bit_is_an_error_or_changes_nothing(path):
    whole, data = content(archive.load(path)), path.read_bytes()
    noticed = 0
    for at, bit in flips(data):
        broken = bytearray(data)
        broken[at] ^= 1 << bit
        path.write_bytes(broken)
        try:
            assert content(archive.load(path)) == whole, f"bit {bit} of byte {at}"
        except RecordError:
            noticed += 1
    assert noticed > 200


def test_a_member_that_declares_more_than_a_record_has_is_refused(path):
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    struct.pack_into("<I", data, entry + 24, 0xFFFFFFF0)  # the uncompressed size
    path.write_bytes(data)
    with pytest.raises(RecordError, match=r"would unpack to 4,096 MiB"):
        archive.load(path)


def test_metadata_of_unusual_size_is_refused(path):
    edit_meta(path, source="a" * (archive.MAX_META_BYTES + 2**20))
    with pytest.raises(RecordError, match=r"record\.json would unpack to 65 MiB"):
        archive.load(path)


def test_a_table_of_more_rows_than_fit_is_refused_before_it_is_unpacked(path):
    """Parquet packs equal rows to next to nothing."""
    schema = pa.schema([(name, pa.int64()) for name in SCHEMAS["requests"].names[:4]])
    part = pa.table({name: pa.nulls(10_000_000, pa.int64()) for name in schema.names}, schema=schema)

    def enlarge(members):
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, schema) as writer:
            for _ in range(10):
                writer.write_table(part)
        members["requests.parquet"] = sink.getvalue().to_pybytes()

    rewrite(path, enlarge)
    assert path.stat().st_size < 2_000_000
    with pytest.raises(RecordError, match="would unpack to"):
        archive.load(path)


def test_a_compressed_member_is_unpacked_to_the_size_that_it_declares(path):
    rewrite(path, lambda members: None, compression=zipfile.ZIP_DEFLATED)
    assert content(archive.load(path)) == content(records.gpu_record())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_cannot_be_bounded_is_refused(path, method):
    rewrite(path, lambda members: None, compression=method)
    with pytest.raises(RecordError, match="compressed in a way that records are not"):
        archive.load(path)
