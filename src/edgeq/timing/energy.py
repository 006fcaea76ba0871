"""The energy that processors take, where Linux shows their meters (RAPL)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

_FOLDER = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class EnergyMeter:
    """The meters of all processor packages; they count what every program takes.

    Attributes:
        packages: the folder of each.
    """

    packages: tuple[Path, ...]

    @classmethod
    def found(cls, folder: Path = _FOLDER) -> EnergyMeter:
        """The meters of this machine.

        Raises:
            TargetError: there is none, or it may not be read.
        """
        packages = tuple(
            path
            for path in sorted(folder.glob("*-rapl:*"))
            if path.name.count(":") == 1 and (path / "energy_uj").exists()
        )
        if not packages:
            raise TargetError(
                "this machine shows no energy meter (RAPL)",
                hint="measure on Intel or AMD hardware itself; virtual machines hide the meter",
            )
        meter = cls(packages)
        try:
            meter.read_uj()
        except OSError as error:
            raise TargetError(
                f"the energy meter cannot be read: {error.strerror}",
                hint=f"ask the administrator for: chmod a+r {packages[0]}/energy_uj",
            ) from error
        return meter

    def read_uj(self) -> tuple[int, ...]:
        """What each package counts now, in microjoules."""
        return tuple(
            int((path / "energy_uj").read_text(encoding="utf-8")) for path in self.packages
        )

    def since_uj(self, before: Sequence[int]) -> int:
        """What was taken since, in microjoules; a meter may have begun anew once."""
        return sum(
            now - then if now >= then else now - then + self._range_uj(path)
            for path, then, now in zip(self.packages, before, self.read_uj(), strict=True)
        )

    def idle_w(self, seconds: float = 0.5) -> float:
        """What is taken while this program waits, in watts."""
        before, began = self.read_uj(), time.monotonic()
        time.sleep(seconds)
        return self.since_uj(before) / 1e6 / (time.monotonic() - began)

    @staticmethod
    def _range_uj(path: Path) -> int:
        return int((path / "max_energy_range_uj").read_text(encoding="utf-8"))
