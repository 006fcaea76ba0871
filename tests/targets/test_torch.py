"""Checkpoints in PyTorch, with quantisers and a loader that are none of edgeq's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
import torch
from tests.support.models import onnx_models, torch_models
from torch import nn

from edgeq.errors import TargetError
from edgeq.network.loading import LOADERS
from edgeq.quant import QuantizedTensor, QuantParams
from edgeq.targets.torch import fake_quant, float_reference

if TYPE_CHECKING:
    from pathlib import Path

Build: TypeAlias = Callable[[bool], nn.Module]
Load: TypeAlias = Callable[[Build], None]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(torch_models.checkpoint_content())
    return path


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    def use(build: Build) -> None:
        monkeypatch.setattr(LOADERS, "load", lambda _name: torch_models.loader(build))

    return use


def test_quantised_tensors_are_integers_on_the_quantiser_s_grid(
    checkpoint: Path, load: Load
) -> None:
    network = torch_models.Network(quantized=True)
    load(lambda _rounding: network)
    images = onnx_models.images(3)
    with fake_quant.open(checkpoint, intermediates=True) as session:
        inside = session.tensors(images)
        assert session.facts["quantisers"] == "2"
    assert list(inside) == ["conv", "pool"]
    conv = inside["conv"]
    assert isinstance(conv, QuantizedTensor)
    assert conv.params == QuantParams.of(0.05, 0, "uint8", qmax=15)
    assert conv.values.dtype == np.uint8
    with torch.inference_mode():
        on_grid = network.quantizers["conv"](
            torch.relu(network.conv(torch.from_numpy(images)))
        ).numpy()
    np.testing.assert_allclose(conv.dequantize(), on_grid, atol=1e-6)
    assert len(np.unique(conv.values)) > 10


def test_without_rounding_the_same_tensors_are_real_numbers(checkpoint: Path, load: Load) -> None:
    load(lambda rounding: torch_models.Network(quantized=True, rounding=rounding))
    images = onnx_models.images(3)
    with (
        float_reference.open(checkpoint, intermediates=True) as real,
        fake_quant.open(checkpoint, intermediates=True) as rounded,
    ):
        inside, integers = real.tensors(images), rounded.tensors(images)
        assert (real.facts["rounding"], rounded.facts["rounding"]) == ("off", "on")
    assert list(inside) == list(integers)
    conv, quantized = inside["conv"], integers["conv"]
    assert isinstance(conv, np.ndarray)
    assert isinstance(quantized, QuantizedTensor)
    assert 0 < np.abs(conv - quantized.dequantize()).max() <= 0.025 + 1e-6


def test_a_float_network_shows_every_node(checkpoint: Path, load: Load) -> None:
    load(lambda _rounding: torch_models.Network(quantized=False))
    images = onnx_models.images(2)
    with float_reference.open(checkpoint, intermediates=True) as session:
        inside, answer = session.tensors(images), session.run(images)
    assert list(inside) == ["x", "conv", "relu", "mean", "head"]
    x, head = inside["x"], inside["head"]
    assert isinstance(x, np.ndarray)
    assert isinstance(head, np.ndarray)
    assert np.array_equal(x, images)
    assert np.array_equal(head, answer)


def test_tensors_on_one_shared_grid_keep_their_own_names(checkpoint: Path, load: Load) -> None:
    load(lambda rounding: torch_models.shared_grid(rounding=rounding))
    with fake_quant.open(checkpoint, intermediates=True) as session:
        inside = session.tensors(onnx_models.images(1))
    assert list(inside) == ["x", "conv"]
    x, conv = inside["x"], inside["conv"]
    assert isinstance(x, QuantizedTensor)
    assert isinstance(conv, QuantizedTensor)
    assert not np.array_equal(x.values, conv.values)


def test_the_process_keeps_its_thread_count(checkpoint: Path, load: Load) -> None:
    seen: list[int] = []

    class Watching(torch_models.Network):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(x)

    load(lambda _rounding: Watching(quantized=False))
    before = torch.get_num_threads()
    with fake_quant.open(checkpoint, threads=before + 1) as session:
        session.run(onnx_models.images(1))
        assert torch.get_num_threads() == before
    assert set(seen) == {before + 1}


def test_a_network_that_fails_is_told_without_a_traceback(checkpoint: Path, load: Load) -> None:
    load(lambda _rounding: nn.Linear(7, 3))
    with pytest.raises(TargetError, match="failed in PyTorch"):
        fake_quant.open(checkpoint)


def test_a_network_that_cannot_be_traced_has_no_tensors_but_runs(
    checkpoint: Path, load: Load
) -> None:
    class Branching(torch_models.Network):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if x.sum() > 1e9 else super().forward(-x)

    load(lambda _rounding: Branching(quantized=False))
    with pytest.raises(TargetError, match="cannot be traced"):
        fake_quant.open(checkpoint, intermediates=True)
    with fake_quant.open(checkpoint) as session:
        assert session.run(onnx_models.images(2)).shape == (2, 10)
