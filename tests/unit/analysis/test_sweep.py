"""A sweep's data: columns, types, absent values."""

import pandas as pd
import pytest
from unit.sweeps import BATCHES, CONTEXTS, RUNS, STEPS, cpu_sweep, gpu_sweep

from profkit.analysis.sweep import POINTS, SAMPLES


@pytest.fixture
def data():
    return gpu_sweep()


def test_points_have_the_axes_behind_their_number(data):
    frame = data.points_frame()
    assert list(frame) == ["point", "batch", "context", *POINTS.names[1:]]
    assert len(frame) == len(BATCHES) * len(CONTEXTS)


def test_what_was_not_measured_is_absent_and_not_zero(data):
    full = data.points_frame().set_index(["batch", "context"])
    assert pd.isna(full.loc[(512, 4096), "energy_j"])
    assert pd.isna(full.loc[(512, 4096), "repetitions"])
    assert cpu_sweep().points_frame()["energy_j"].isna().all()


def test_samples_are_one_row_for_each_phase_of_a_run_and_each_token_gap(data):
    frame = data.samples_frame()
    assert list(frame) == SAMPLES.names
    first = frame[frame["point"] == 0]
    assert first["phase"].value_counts().to_dict() == {"decode": RUNS * STEPS, "prefill": RUNS, "total": RUNS}
