"""The emulator as a target: batches, memory, layers, plans and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.contract.test_exactness import images, network

from edgeq.errors import ArtefactError, TargetError, UnknownName
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.quant import QuantizedTensor
from edgeq.target import TARGETS, Varied
from edgeq.targets.emulator import emulator
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module", params=["onnx", "tflite"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lowered = lower(network("stable-resnet8", Scheme(4, 4)), SHAPE)
    path = tmp_path_factory.mktemp("model") / f"model.{request.param}"
    content = (
        serialize(lowered)
        if request.param == "onnx"
        else exporter.export(lowered, ExportOptions()).content
    )
    assert isinstance(content, bytes)
    path.write_bytes(content)
    return path


def test_a_sample_does_not_depend_on_its_neighbours(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = images(7, SHAPE)
    with emulator.open(model) as session:
        whole = session.run(batch)
        single = np.concatenate([session.run(sample[None]) for sample in batch])
    monkeypatch.setattr("edgeq.targets.emulator.session._ELEMENTS_AT_ONCE", 3 * 16 * 16 * 16)
    with emulator.open(model) as session:
        parts = session.run(batch)
    np.testing.assert_array_equal(whole, single)
    np.testing.assert_array_equal(whole, parts)


def test_the_output_is_the_last_tensor(model: Path) -> None:
    batch = images(3, SHAPE)
    with emulator.open(model, intermediates=True) as session:
        tensors, outputs = session.tensors(batch), session.run(batch)
    last = list(tensors.values())[-1]
    np.testing.assert_array_equal(
        last.dequantize() if isinstance(last, QuantizedTensor) else last, outputs
    )


def test_tensors_are_shown_only_where_they_were_asked_for(model: Path) -> None:
    with emulator.open(model) as session, pytest.raises(TargetError, match="without intermediates"):
        session.tensors(images(1, SHAPE))


def test_layers_tell_of_every_sum(model: Path) -> None:
    with emulator.open(model) as session:
        session.run(images(5, SHAPE))
        layers = session.layers()
    dots = [layer for layer in layers if layer.work.kind == "dot"]
    assert len(dots) == sum(layer.work.macs > 0 for layer in layers)
    for layer in dots:
        assert layer.stats.sums == 5 * layer.work.outputs
        assert layer.stats.steps == 5 * layer.work.macs
        assert layer.stats.wrong == 0


def test_all_of_it_is_planned_in_integers(model: Path) -> None:
    plan = emulator.plan(model)
    assert {op.arithmetic for op in plan.ops} == {"integer"}
    assert sum(op.macs or 0 for op in plan.ops) > 100_000


def test_latency_is_of_one_sample(model: Path) -> None:
    with emulator.open(model) as session:
        with pytest.raises(TargetError, match="no input"):
            session.invoke()
        with pytest.raises(ArtefactError, match="one sample at a time"):
            session.prepare(images(2, SHAPE))
        session.prepare(images(1, SHAPE))
        session.invoke()


def test_threads_and_precision_are_put_back(model: Path) -> None:
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with emulator.open(model, threads=before[0] + 1) as session:
        session.run(images(1, SHAPE))
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before


def test_products_stay_exact_where_torch_may_be_less_precise(model: Path) -> None:
    with emulator.open(model) as session:
        wanted = session.run(images(2, SHAPE))
        torch.set_float32_matmul_precision("medium")
        try:
            np.testing.assert_array_equal(session.run(images(2, SHAPE)), wanted)
        finally:
            torch.set_float32_matmul_precision("highest")


def test_machines_go_by_name(model: Path) -> None:
    assert isinstance(emulator, Varied)
    assert {"tflm", "tflite-reference", "onnx-reference"} <= set(emulator.variants())
    with TARGETS.load("emulator:tflm").open(model) as session:
        assert session.facts["profile"] == "tflm"
    with pytest.raises(UnknownName, match="tflm"):
        TARGETS.load("emulator:tlfm")


def test_another_batch_size_is_refused(model: Path) -> None:
    with emulator.open(model) as session, pytest.raises(ArtefactError, match="samples of shape"):
        session.run(images(1, (3, 8, 8)))
