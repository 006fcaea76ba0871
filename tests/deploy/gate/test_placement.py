"""The rule ``placement``: what it judges, and which stages it is asked of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.support.models.onnx_models import four_layers

from edgeq.deploy.gate.config import Rule
from edgeq.deploy.gate.judges.targets import placement
from edgeq.deploy.gate.starting import initial

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.deploy.gate.judges.context import Context

RULE = Rule("placement", {"same": True})


def judged(then: dict[str, str], now: dict[str, str]) -> tuple[str, str]:
    stage, entry = SimpleNamespace(name="net.onnx @ here"), SimpleNamespace(placement=then)
    context = SimpleNamespace(
        pairs=lambda _: [(stage, entry)],
        measured=SimpleNamespace(placements={stage.name: now}, no_placement={}),
    )
    (found,) = placement(RULE, cast("Context", cast("Any", context)))
    return found.outcome, found.message


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("integer QLinearConv", "float Conv"),
        ("integer CONV_2D", "hybrid CONV_2D"),
        ("delegated XNNPACK", "integer CONV_2D"),
        ("delegated XNNPACK", "fallback Conv"),
        ("removed", "float Relu"),
    ],
)
def test_leaving_integers_or_the_delegate_fails(then: str, now: str) -> None:
    outcome, message = judged({"a": then, "b": "integer Add"}, {"a": now, "b": "integer Add"})
    assert outcome == "fail"
    assert message.endswith(f"1 of 2 operators moved: a: {then} became {now}")
    assert judged({"a": now}, {"a": then})[0] == "pass"


def test_what_is_new_gone_or_in_float_anyway_passes() -> None:
    """A reference computes all in float, whatever is in the file."""
    then = {"a": "float Conv", "gone": "integer Add", "fused": "delegated XNNPACK"}
    now = {"a": "float FusedConv", "new": "float Relu", "fused": "removed"}
    assert judged(then, now) == ("pass", "net.onnx @ here: 0 of 3 operators moved")


def test_it_is_not_asked_of_a_reference(tmp_path: Path) -> None:
    file = four_layers(tmp_path / "net.onnx")
    asked = {
        targets: initial([file], "digits", targets.split(","), tmp_path)
        for targets in ("ort-cpu-ref", "ort-cpu-ref,ort-cpu")
    }
    assert "placement" not in asked["ort-cpu-ref"]
    assert 'placement = { same = true, stages = ["net.onnx @ ort-cpu"] }' in "".join(asked.values())
