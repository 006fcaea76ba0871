"""What Linux says of the machine, read from texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeq.timing import surroundings
from edgeq.timing.surroundings import Watch, on_battery, throttled_in, ticks_in

if TYPE_CHECKING:
    from pathlib import Path


def test_the_ticks_of_all_processors() -> None:
    assert ticks_in("cpu  10 2 3 4 5 0 1 7 0 0\ncpu0 1 1 1 1\n") == (10, 2, 3, 4, 5, 0, 1, 7, 0, 0)
    assert ticks_in("") == ticks_in("cpu a b") == ()


def test_a_quota_is_told_by_either_version_of_control_groups() -> None:
    assert throttled_in("nr_throttled 3\nthrottled_usec 2500000\n") == 2.5
    assert throttled_in("nr_throttled 3\nthrottled_time 2500000000\n") == 2.5
    assert throttled_in("usage_usec 1\n") == throttled_in("") == 0.0


def test_a_battery_is_used_where_mains_are_to_be_had_and_not_plugged_in(tmp_path: Path) -> None:
    assert not on_battery(tmp_path)
    (tmp_path / "AC").mkdir()
    (tmp_path / "AC" / "online").write_text("0\n")
    assert on_battery(tmp_path)
    (tmp_path / "AC" / "online").write_text("1\n")
    assert not on_battery(tmp_path)


def test_others_are_what_is_busy_beside_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(surroundings, "_STAT", stat)
    monkeypatch.setattr(surroundings, "_GROUPS", (tmp_path / "none",))
    stat.write_text("cpu 0 0 0 0 0 0 0 0\n")
    watch = Watch()
    stat.write_text("cpu 5000 0 1000 3000 0 0 0 1000 0 0\n")
    found = watch.seen(workers_seconds=20.0)
    assert found.others == pytest.approx(0.5, abs=0.01)  # 70 of 100 s were busy
    assert found.stolen == pytest.approx(0.1)
    stat.write_text("")
    assert watch.seen().others is None
