"""Causes that no file tells: what a faulty runtime makes of a sound one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from tests.support.faults.networks import SHAPES, small
from tests.support.faults.planting import Planting

import edgeq
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.target import Session, Target


class Faulty:
    """Runs another file than it is given; it optimises as the target that it stands in for."""

    def __init__(self, real: Target, runs: Path) -> None:
        self.capabilities = replace(real.capabilities, saturating_pairs="never")
        self._real, self._runs = real, runs

    def probe(self) -> object:
        return self._real.probe()

    def open(self, _: Path, *, threads: int = 1, intermediates: bool = False) -> Session:
        return self._real.open(self._runs, threads=threads, intermediates=intermediates)


def pads(planting: Planting) -> None:
    planting.set(planting.graph.node[convolution(planting, "b")], "pads", [0, 0, 2, 2])


def swapped(planting: Planting) -> None:
    planting.change("b.weight_quantized", lambda a: a[[1, 0, *range(2, len(a))]])
    planting.change("b.bias_quantized", lambda a: a[[1, 0, *range(2, len(a))]])
    planting.change("b.weight_scale", lambda a: a[[1, 0, *range(2, len(a))]])
    planting.change("b.bias_scale", lambda a: a[[1, 0, *range(2, len(a))]])


def bounded(planting: Planting) -> None:
    node = planting.graph.node[convolution(planting, "b")]
    name = node.output[0]
    bounds = [planting.constant(f"b_{end}", np.float32(at)) for end, at in (("l", -2), ("h", 2))]
    node.output[0] = "b_free"
    place = convolution(planting, "b_free") + 1
    planting.insert(place, onnx.helper.make_node("Clip", ["b_free", *bounds], [name]))


def wrong(planting: Planting) -> None:
    planting.change("b.weight_quantized", lambda a: np.clip(a + 7, -128, 127))


def convolution(planting: Planting, output: str) -> int:
    return next(i for i, node in enumerate(planting.graph.node) if node.output[0] == output)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (pads, "padding"),
        (swapped, "layout"),
        (bounded, "clipping"),
        (wrong, "graph optimisation"),
    ],
)
def test_a_runtime_at_fault(
    fault: Callable[[Planting], None],
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planting = Planting(small())
    fault(planting)
    path, other = tmp_path / "net.onnx", tmp_path / "other.onnx"
    path.write_bytes(small().SerializeToString())
    other.write_bytes(planting.model.SerializeToString())
    load = TARGETS.load
    faulty = Faulty(load("ort-cpu"), other)
    monkeypatch.setattr(TARGETS, "load", lambda name: faulty if name == "ort-cpu" else load(name))
    samples = np.random.default_rng(2).normal(0, 1, (4, *SHAPES["small"])).astype(np.float32)
    found = edgeq.why([path], edgeq.load_data({"test": samples}), targets=["ort-cpu"])
    (cause,) = found.causes
    assert (cause.kind, cause.tensor) == (kind, "b")
    assert cause.number == 2
