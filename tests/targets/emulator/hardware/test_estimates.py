"""Machines of known speed: their latency is an estimate, and says so.

Each is a target of its own that runs where it is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from tests.support.models import tflite_models

from edgeq.errors import UnknownName
from edgeq.target import TARGETS
from edgeq.targets.emulator.hardware.costs import layer_cost, total
from edgeq.targets.emulator.hardware.profiles import names, profile_of
from edgeq.timing import Estimating, estimated

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.targets.emulator import EmulatorTarget
    from edgeq.targets.emulator.session import EstimatedSession


def target(kind: str) -> EmulatorTarget:
    return cast("EmulatorTarget", TARGETS.load(f"emulator:{kind}"))


@pytest.mark.parametrize("kind", names())
def test_each_machine_is_a_target_that_runs_where_it_is_named(kind: str) -> None:
    found = target(kind)
    assert found.capabilities.on_request
    assert found.capabilities.latency == (
        "simulated" if profile_of(kind).costs is None else "estimated"
    )
    assert profile_of(kind).summary in found.capabilities.summary
    assert dict(found.details())["according to"] == profile_of(kind).source


def test_the_emulator_lists_its_machines_and_refuses_others() -> None:
    assert cast("EmulatorTarget", TARGETS.load("emulator")).variants() == names()
    with pytest.raises(UnknownName, match="did you mean 'avx2'"):
        target("avx512")


def test_an_estimate_is_that_of_the_costs_whatever_the_emulation_takes(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(tflite_models.int8_model())
    with target("cmsis-nn-m4").open(file) as opened:
        session = cast("EstimatedSession", opened)
        assert isinstance(session, Estimating)
        costs = [layer_cost(layer.work, session.profile) for layer in session.layers()]
        whole = total([cost for cost in costs if cost is not None])
        assert whole is not None
        assert session.estimated_ms == pytest.approx(whole.latency_ms)
        assert estimated(session).p50_ms == session.estimated_ms
        assert "peak rates" in estimated(session).why
        assert session.facts["cycles"].startswith(f"{whole.cycles:,} at least")
        assert session.facts["layers left to the host"] == "0"


def test_a_machine_of_unknown_speed_is_timed_as_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(tflite_models.int8_model())
    with target("tflm").open(file) as session:
        assert not isinstance(session, Estimating)
