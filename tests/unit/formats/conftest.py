"""A record in a file."""

import pytest
from unit import records

from profkit.formats import archive


@pytest.fixture
def path(tmp_path):
    return archive.save(records.gpu_record(), tmp_path / "run")
