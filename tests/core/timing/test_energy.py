"""Energy meters, as folders of Linux show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeq.errors import TargetError
from edgeq.timing.energy import EnergyMeter
from edgeq.timing.measuring import measure

if TYPE_CHECKING:
    from pathlib import Path


def package(folder: Path, name: str, count: int) -> Path:
    """A package's meter."""
    path = folder / name
    path.mkdir()
    (path / "energy_uj").write_text(f"{count}\n")
    (path / "max_energy_range_uj").write_text("1000\n")
    return path


def test_packages_are_added_up_and_begin_anew(tmp_path: Path) -> None:
    one, other = (package(tmp_path, f"intel-rapl:{i}", count) for i, count in ((0, 900), (1, 10)))
    package(tmp_path, "intel-rapl:0:0", 5)  # a part of package 0
    meter = EnergyMeter.found(tmp_path)
    assert meter.packages == (one, other)
    before = meter.read_uj()
    (one / "energy_uj").write_text("100")
    (other / "energy_uj").write_text("30")
    assert meter.since_uj(before) == 200 + 20
    assert meter.idle_w(0.001) == 0


def test_a_machine_without_a_meter_says_so(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no energy meter"):
        EnergyMeter.found(tmp_path)


def test_a_meter_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    (package(tmp_path, "intel-rapl:0", 0) / "energy_uj").unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()
    with pytest.raises(TargetError, match="cannot be read"):
        EnergyMeter.found(tmp_path)


def test_energy_is_of_a_run(tmp_path: Path) -> None:
    path = package(tmp_path, "intel-rapl:0", 0) / "energy_uj"

    class Costly:
        def invoke(self) -> None:
            path.write_text(str(int(path.read_text()) + 2000))

    (path.parent / "max_energy_range_uj").write_text(str(2**40))
    meter = EnergyMeter.found(tmp_path)
    found = measure({"": Costly()}, seconds=1e-6, warmup_seconds=0, min_runs=4, energy=meter)[""]
    assert found.energy_mj == pytest.approx(2.0)
