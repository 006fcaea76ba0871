"""The row of the contract for runtimes with a rounding of their own.

Given equal integers, how far from ONNX semantics.

What is promised of each, for every quantised tensor of stable and baseline networks, was measured
first and is held here:

- OpenVINO: at most 1 LSB, at ties: its kernels add in another order, and averages are full of ties.
- The HTP: at most 1 LSB, in one value of twenty, at 4W/4A in up to a quarter of one sum's values:
  it rescales sums with fewer bits, so that what lies within a quarter of a step of a tie may go to
  the other side, and it rounds ties of averages up.

At the output of a whole network such steps add up as the network lets them: an unstable one
amplifies them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.support.checks.exactness import roughen
from tests.support.runtimes.devices import htp, layer_by_layer, need, openvino

from edgeq.deploy.pipeline.export import export
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.exporters.torch.lower import lower
from edgeq.models import zoo
from edgeq.plan import Planner
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS, dialect_for
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray
    from tests.support.runtimes.devices import Run

RUNS: dict[str, Run] = {"openvino": openvino, "qnn-htp": htp}
SCHEMES = [Scheme(8, 8), Scheme(4, 8), Scheme(4, 4)]
SHAPE = (3, 16, 16)
MOST_TIES = 1e-4  # a share of the integers that are no averages, for OpenVINO
MOST_ROUNDED = 0.25  # a share of one tensor's integers, for the HTP


def network(name: str, scheme: Scheme, target: str) -> ir.Model:
    torch.manual_seed(0)
    model = quantize(zoo.build(name, classes=10, in_channels=SHAPE[0]), scheme)
    return to_dialect(lower(roughen(model, SHAPE, seed=0), SHAPE), dialect_for(target))


def images(samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 1, (samples, *SHAPE)).astype(np.float32)


def hold(model: ir.Model, target: str, samples: int) -> None:
    """The promise of the module's first lines."""
    found = layer_by_layer(model, images(samples), RUNS[target])
    assert {name: dict(counts) for name, counts in found.items() if max(map(abs, counts)) > 1} == {}
    if target == "qnn-htp":
        assert all(counts[0] >= (1 - MOST_ROUNDED) * counts.total() for counts in found.values())
        return
    averages = {op.output.name for op in read_qdq(model).ops if "Average" in op.op_type}
    others: Counter[int] = sum(
        (counts for name, counts in found.items() if name not in averages), Counter()
    )
    assert others[-1] + others[1] <= max(2, MOST_TIES * others.total())


@pytest.mark.parametrize("target", sorted(RUNS))
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("name", ["resnet8", "stable-resnet8"])
def test_every_layer_holds_to_its_row(name: str, scheme: Scheme, target: str) -> None:
    need(target)
    hold(network(name, scheme, target), target, 2)


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(RUNS))
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize(
    "name", ["resnet20", "stable-resnet20", "resnet56", "stable-resnet56", "resnet8-a"]
)
def test_every_layer_of_deeper_networks_holds_to_its_row(
    name: str, scheme: Scheme, target: str
) -> None:
    need(target)
    hold(network(name, scheme, target), target, 4)


@pytest.mark.parametrize("target", sorted(RUNS))
def test_a_foreign_int8_network_runs_whole_in_integers(
    target: str, data_dir: Path, tmp_path: Path
) -> None:
    """MLPerf Tiny's ResNet, quantised by others, in int8 and NHWC.

    Its layers with int8 weights, where those are safe here or not.
    """
    need(target)
    source, dialect = data_dir / "models" / "resnet8-qdq.onnx", dialect_for(target)
    written = export(source, ["onnx"], tmp_path, ExportOptions(dialect=dialect))
    batch = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    device, there = TARGETS.load(target), TARGETS.load("ort-cpu-ref")
    with device.open(written[0].path) as session, there.open(written[0].path) as reference:
        answers, expected = session.run(batch), reference.run(batch)
    assert np.array_equal(answers.argmax(1), expected.argmax(1))
    assert isinstance(device, Planner)
    (signed,) = export(
        source,
        ["onnx"],
        tmp_path,
        ExportOptions(dialect=replace(dialect, weights="int8")),
        stem="int8",
    )
    ops = device.plan(signed.path).ops
    assert sum(op.macs or 0 for op in ops if op.arithmetic == "integer") > 0.96 * sum(
        op.macs or 0 for op in ops
    )


@pytest.mark.parametrize("name", ["resnet8", "stable-resnet8", "resnet8-a"])
def test_every_layer_with_int8_weights_is_in_integers_on_openvino(
    name: str, tmp_path: Path
) -> None:
    need("openvino")
    from edgeq.formats.onnx_io import serialize

    path, target = tmp_path / "model.onnx", TARGETS.load("openvino")
    model = network(name, Scheme(4, 4), "openvino")
    path.write_bytes(serialize(model))
    assert isinstance(target, Planner)
    weights = {
        op.name: op.inputs[1].params
        for op in read_qdq(model).ops
        if len(op.inputs) > 1 and isinstance(op.inputs[1], QdqConstant)
    }
    unsigned = {
        name for name, params in weights.items() if params is not None and params.dtype == "uint8"
    }
    ran = {op.name: op.arithmetic for op in target.plan(path).ops if op.macs}
    assert {ran[name] for name in ran.keys() - unsigned} == {"integer"}
    assert len(unsigned) <= 2, "the first and the last layer have 8 bits, and may run in float"
