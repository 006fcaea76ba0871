"""``edgeq why`` finds planted faults in files that ONNX Runtime's own quantiser wrote."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from onnxruntime.quantization import QuantType
from tests.support.faults.kinds import KINDS
from tests.support.faults.running import (
    asked,
    asked_of_float,
    complaint,
    leaves_no_trace,
    places,
    planted,
)
from tests.support.runtimes.ort_quantized import NETWORKS, plain, quantized

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx
    from tests.support.faults.planted import Planted
    from tests.support.faults.planting import Layer

    from edgeq.deploy.why.records import Cause

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Constant folding:UserWarning"),
]

OPTIONS = {
    "per tensor": {},
    "per channel": {"per_channel": True},
    "reduced range": {"per_channel": True, "reduce_range": True},
    "unsigned weights": {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QUInt8,
    },
}
FEW = (
    "a weight off by 40",
    "kernel transposed",
    "joined the other way",
    "subtracted the other way",
    "divided the other way",
    "another index",
    "input negated",
    "sum without its shortcut",
    "alpha doubled",
    "pads averaged",
)
"""Of which most are in operators that are left in float."""

Case = tuple[str, "Layer", "onnx.ModelProto", "Planted"]


def cases_of(clean: onnx.ModelProto, kinds: Sequence[str]) -> list[Case]:
    return [
        (kind, layer, *made)
        for kind in kinds
        for layer in places(clean, kind, 1)
        if (made := planted(clean, kind, layer)) is not None
    ]


def wrong(case: Case, causes: Sequence[Cause]) -> str:
    kind, layer, _, told = case
    named = [replace(each, tensor=plain(each.tensor)) for each in causes]
    found = complaint(named, replace(told, tensors=frozenset(map(plain, told.tensors))))
    return f"{kind}, {layer.node}: {found}" if found else ""


def excused(clean: onnx.ModelProto, case: Case) -> bool:
    """Whether the file is another valid one, or says itself that an activation is gone.

    ONNX Runtime's quantiser drops activations for the ends of grids; a zero point that is moved
    lets through what the activation cut off.
    """
    kind, layer, _, _ = case
    return leaves_no_trace(clean, kind, layer) or kind.startswith("zero point +")


def test_faults_in_operators_left_in_float(tmp_path: Path) -> None:
    real, clean, source = quantized("functions", tmp_path, per_channel=True)
    cases = cases_of(clean, FEW)
    assert len(cases) == len(FEW)
    found = asked(clean, [model for _, _, model, _ in cases], source, tmp_path)
    assert not list(filter(None, map(wrong, cases, found)))
    assert asked_of_float(real, [clean], source, tmp_path) == [[]]
    found = asked_of_float(real, [model for _, _, model, _ in cases[:4]], source, tmp_path)
    assert not list(filter(None, map(wrong, cases[:4], found)))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_each_kind(name: str, options: str, tmp_path: Path) -> None:
    real, clean, source = quantized(name, tmp_path, **OPTIONS[options])
    cases = cases_of(clean, tuple(KINDS))
    assert len(cases) >= 50
    found = asked(clean, [model for _, _, model, _ in cases], source, tmp_path)
    assert not list(filter(None, map(wrong, cases, found)))
    assert asked_of_float(real, [clean], source, tmp_path) == [[]]
    told = [case for case in cases if not excused(clean, case)]
    found = asked_of_float(real, [model for _, _, model, _ in told], source, tmp_path)
    assert not list(filter(None, map(wrong, told, found)))
