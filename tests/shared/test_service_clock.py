"""One time decides in every process, whatever its own wall clock says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.errors import BrokerUnavailable, ClocksDisagree
from shared.service_clock import ServiceClock

ROOT = Path(__file__).parents[2]
DAY_S = 86400.0


class Machine:
    """A machine with a wall clock, and a server that it asks for the time."""

    def __init__(self, *, server_s: float = 1e9, wall_s: float = 1e9) -> None:
        self.server_s = server_s
        self.wall_s = wall_s
        self.monotonic_s = 50.0
        self.round_trip_s = 0.0
        self.away = False
        self.asked = 0

    def clock(self) -> ServiceClock:
        return ServiceClock(wall=lambda: self.wall_s, monotonic=lambda: self.monotonic_s)

    def following(self) -> ServiceClock:
        clock = self.clock()
        clock.follow(self.server)
        return clock

    def server(self) -> float:
        """The answer is made half-way."""
        self.asked += 1
        if self.away:
            raise BrokerUnavailable("Redis is away")
        self.passes(self.round_trip_s / 2)
        said = self.server_s
        self.passes(self.round_trip_s / 2)
        return said

    def passes(self, seconds: float) -> None:
        self.server_s += seconds
        self.wall_s += seconds
        self.monotonic_s += seconds


def test_the_time_is_that_of_the_server_however_wrong_the_wall_clock_is():
    machine = Machine(wall_s=1e9 + 8 * DAY_S)
    clock = machine.following()

    machine.passes(3)

    assert clock.now() == pytest.approx(1e9 + 3)
    assert clock.offset_s() == pytest.approx(8 * DAY_S)


def test_a_wall_clock_that_is_set_moves_nothing():
    machine = Machine()
    clock = machine.following()

    machine.wall_s -= DAY_S

    assert clock.now() == pytest.approx(1e9)
    assert clock.is_off()


def test_half_of_the_round_trip_counts():
    machine = Machine()
    machine.round_trip_s = 4.0

    clock = machine.following()

    assert clock.now() == pytest.approx(machine.server_s)


def test_of_slow_answers_the_fastest_counts():
    machine = Machine()
    clock = machine.clock()
    trips = iter([(3.0, 0.0), (0.2, 0.1), (2.0, 0.0)])

    def lopsided() -> float:
        there, back = next(trips, (0.0, None))
        if back is None:
            raise BrokerUnavailable("the thread of the clock measures again")
        machine.passes(there)
        said = machine.server_s
        machine.passes(back)
        return said

    clock.follow(lopsided)

    assert abs(clock.now() - machine.server_s) == pytest.approx(0.05)


def test_the_last_measurement_counts_on_while_the_server_is_away():
    machine = Machine(wall_s=2e9)
    clock = machine.following()
    machine.away = True

    machine.passes(3600)
    with pytest.raises(BrokerUnavailable):
        clock.measure()

    assert clock.now() == pytest.approx(1e9 + 3600)


def test_another_clock_is_asked_until_the_server_answers_for_the_first_time():
    machine = Machine(wall_s=2e9)
    machine.away = True
    clock = machine.clock()

    clock.follow(machine.server, substitute=lambda: 1e9 + 1)

    assert clock.now() == pytest.approx(1e9 + 1)
    machine.away = False
    clock.measure()
    machine.away = True
    with pytest.raises(BrokerUnavailable):
        clock.measure()
    assert clock.now() == pytest.approx(1e9)


def test_two_seconds_are_not_off_yet():
    assert not Machine(wall_s=1e9 + 1.9).following().is_off()
    assert Machine(wall_s=1e9 + 2.1).following().is_off()
    assert Machine(wall_s=1e9 - 2.1).following().is_off()


def test_a_measurement_that_may_err_so_far_accuses_nobody():
    machine = Machine(wall_s=1e9 + 3)
    machine.round_trip_s = 4.0

    assert not machine.following().is_off()


def test_clocks_that_agree_let_go_on():
    machine = Machine()

    machine.following().require_agreement(lambda: 1e9 + 30, tolerance_s=60)


@pytest.mark.parametrize("wall_s", [1e9 + 8 * DAY_S, 1e9 - 5])
def test_a_machine_that_is_off_is_stopped(wall_s: float):
    clock = Machine(wall_s=wall_s).following()

    with pytest.raises(ClocksDisagree, match=r"this machine's clock is .* s (ahead of|behind)"):
        clock.require_agreement(lambda: 1e9, tolerance_s=60)


def test_so_is_one_whose_server_and_store_differ():
    """The clock of Redis may be the wrong one."""
    clock = Machine().following()

    with pytest.raises(
        ClocksDisagree, match=r"the object store.s clock is 691200\.0 s behind Redis"
    ):
        clock.require_agreement(lambda: 1e9 - 8 * DAY_S, tolerance_s=60)


def test_what_is_irreversible_waits_for_a_measurement_of_now():
    machine = Machine()
    clock = machine.following()
    asked = machine.asked
    clock.require_agreement(lambda: 1e9, tolerance_s=60)
    assert machine.asked == asked + 1

    machine.away = True

    with pytest.raises(BrokerUnavailable):
        clock.require_agreement(lambda: 1e9, tolerance_s=60)


def test_no_other_module_goes_by_the_wall_clock():
    """But for what only shows the time to people: the launcher's log, and benchmarks."""
    wall = re.compile(r"\btime\.time(_ns)?\b|from time import|\.(utcnow|today)\(|datetime\.now\b")
    shows = {"shared/service_clock.py", "ops/log_formatter.py"}
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for room in ("api", "ops", "shared", "workers")
        for path in sorted((ROOT / room).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in shows and "bench" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if wall.search(line)
    ]

    assert found == []
