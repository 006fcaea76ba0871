"""A layer whose sums saturate is named, also where the runtime shows only a later tensor."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.why.causes import causes_of
from edgeq.deploy.why.evidence import Evidence, Place
from edgeq.deploy.why.measure import OperatorMeter, StageMeter
from edgeq.diffing.replay import Operator
from edgeq.results import LayerSaturation, PairSaturation
from edgeq.target import TARGETS

CHAIN = ("a", "b", "c", "d")


def evidence(shown: set[str], wrong: str, saturated: str, sums: int = 100) -> Evidence:
    """A chain a to d of which a runtime shows some results; one is wrong, one saturates."""
    operators = [
        Operator(name, name, "Conv", number, None, None, (CHAIN[number - 2],) if number > 1 else ())
        for number, name in enumerate(CHAIN, start=1)
    ]
    places = {each.tensor: Place(each, each.name, each.number, 4) for each in operators}
    meters = {name: OperatorMeter(places[name].operator) for name in shown}
    layer = LayerSaturation(saturated, saturated, "Conv", 40_000, 1, 9, sums, 2, 2 if sums else 0)
    pair = Pair(Path("net.onnx"), "ort-cpu")
    return Evidence(
        pair,
        pair,
        TARGETS.load("ort-cpu").capabilities,
        places,
        StageMeter(meters, first=places[wrong].operator),
        saturation=PairSaturation("net.onnx", "ort-cpu", (layer,), "pairs saturate", "export it"),
    )


@pytest.mark.parametrize("sums", [0, 100])
def test_a_hidden_layer_before_the_wrong_result_is_the_cause(sums: int) -> None:
    (cause,) = causes_of(evidence({"a", "d"}, "d", "c", sums))
    assert (cause.kind, cause.operator) == ("pair saturation", "c")


def test_a_layer_whose_result_is_shown_and_right_is_not() -> None:
    assert all(
        cause.kind != "pair saturation" for cause in causes_of(evidence({"a", "c", "d"}, "d", "a"))
    )
