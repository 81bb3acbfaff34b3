"""Tests that need a CUDA GPU: skipped, with that reason, where there is none."""

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def pytest_collection_modifyitems(items):
    # pytest hands every test of the session to this hook, not only those of this folder.
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            item.add_marker(needs_gpu)
