"""The record's clock, on clocks that are moved by hand."""

import time

import pytest

from profkit.capture.clock import Clock, Stopwatch

UNIX = 1_700_000_000_000_000_000
MS = 1_000_000


class Clocks:
    """A monotonic and a Unix clock; reading the monotonic one takes `reading` ns."""

    def __init__(self, reading=0):
        self.monotonic, self.unix, self.reading = 5_000, UNIX, reading
        self.clock = Clock(self.read, lambda: self.unix)

    def read(self):
        self.monotonic += self.reading
        return self.monotonic

    def pass_(self, ns):
        self.monotonic += ns
        self.unix += ns


def test_the_record_starts_at_zero():
    clocks = Clocks()
    assert clocks.clock.now() == 0
    clocks.pass_(42)
    assert clocks.clock.now() == 42


def test_unix_times_land_on_the_records_time():
    clocks = Clocks()
    clocks.pass_(42)
    assert clocks.clock.from_unix_ns(clocks.unix) == clocks.clock.now() == 42


def test_time_before_the_start_is_negative():
    assert Clocks().clock.from_unix_ns(UNIX - 7) == -7


def test_the_start_lies_in_the_middle_of_the_two_readings():
    clocks = Clocks(reading=10)
    assert clocks.clock.now() == 10 + 5  # half of the second reading, and this one


def test_restart_makes_now_the_start():
    clocks = Clocks()
    clocks.pass_(1_000)
    clocks.clock.restart()
    assert (clocks.clock.now(), clocks.clock.start_unix_ns) == (0, UNIX + 1_000)


def test_clocks_that_agree_have_nothing_to_say():
    clocks = Clocks()
    clocks.pass_(3_600 * 1000 * MS)
    assert (clocks.clock.drift_ns(), clocks.clock.drift_warning()) == (0, None)


@pytest.mark.parametrize(("step", "said"), [(2 * MS, "+2.0 ms"), (-5 * MS, "-5.0 ms")])
def test_an_adjusted_system_clock_is_said_with_its_size(step, said):
    clocks = Clocks()
    clocks.unix += step
    assert clocks.clock.drift_ns() == step
    assert said in clocks.clock.drift_warning()


def test_noise_between_the_clocks_is_no_adjustment():
    clocks = Clocks()
    clocks.unix += MS - 1
    assert clocks.clock.drift_warning() is None


def test_the_systems_clocks_agree_with_each_other():
    clock = Clock()
    assert abs(clock.from_unix_ns(time.time_ns()) - clock.now()) < 50 * MS


def test_a_stopwatch_counts_what_passed_while_it_ran():
    watch = Stopwatch()
    began = time.perf_counter_ns()
    time.sleep(0.002)
    passed = time.perf_counter_ns() - began
    assert watch.stop() >= passed
