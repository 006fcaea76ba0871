"""A float file that ONNX Runtime rearranged before it quantised it: no fault, but real ones are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from tests.support.runtimes.ort_quantized import write_both
from torch import nn

import edgeq

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.deploy.why.records import Why

WIDTH, STEPS, HEADS = 8, 6, 2
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)


class Attention(nn.Module):
    """Self-attention whose queries, keys and values are parted in some style."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.style, self.norm = style, nn.LayerNorm(WIDTH)
        self.parts, self.last = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, own = x.shape[0], WIDTH // HEADS
        y = self.parts(self.norm(x))
        if self.style in ("unbind", "gather"):
            whole = y.reshape(batch, STEPS, 3, HEADS, own).permute(2, 0, 3, 1, 4)
            q, k, v = whole.unbind(0) if self.style == "unbind" else [whole[i] for i in range(3)]
        else:
            split = y.chunk(3, -1) if self.style == "chunk" else y.split(WIDTH, -1)
            q, k, v = (each.reshape(batch, STEPS, HEADS, own).transpose(1, 2) for each in split)
        weights = torch.softmax(q @ k.transpose(-1, -2) * own**-0.5, -1)
        joined = (weights @ v).transpose(1, 2).reshape(batch, STEPS, WIDTH)
        answer: torch.Tensor = self.last(x + joined).mean(1)
        return answer


class Standard(nn.Module):
    """PyTorch's own attention, with the batch first or not."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.first = style == "batch first"
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=self.first)
        self.last = nn.Linear(WIDTH, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x if self.first else x.transpose(0, 1)
        y = y + self.attention(y, y, y, need_weights=False)[0]
        answer: torch.Tensor = self.last(y if self.first else y.transpose(0, 1)).mean(1)
        return answer


def soften(model: onnx.ModelProto) -> str:
    """Take the softmax along the other axis."""
    node = next(each for each in model.graph.node if each.op_type == "Softmax")
    node.attribute[0].i = 2
    return str(node.name)


def turn(model: onnx.ModelProto) -> str:
    """Leave out that the heads are brought beside each other again."""
    node = [each for each in model.graph.node if each.op_type == "Transpose"][-1]
    node.attribute[0].ints[:] = [0, 1, 2, 3]
    return str(node.name)


@pytest.mark.parametrize("style", ["split", "chunk", "unbind", "gather"])
@pytest.mark.parametrize("options", [{"form": "QDQ"}, {"form": "QOperator", "per_channel": True}])
def test_no_fault_where_the_graph_was_rearranged(
    style: str, options: dict[str, Any], tmp_path: Path
) -> None:
    found = why(Attention(style), tmp_path, **options)
    assert not found.causes
    assert found.stages[1].state == "quantisation"
    assert not found.stages[1].unjudged
    told = any("was rearranged" in each for each in found.remarks)
    assert told or style not in ("unbind", "gather")


@pytest.mark.parametrize("style", ["batch first", "steps first"])
def test_no_fault_in_attention_of_pytorch(style: str, tmp_path: Path) -> None:
    found = why(Standard(style), tmp_path, form="QDQ", per_channel=True)
    assert not found.causes


@pytest.mark.parametrize("style", ["split", "unbind"])
@pytest.mark.parametrize("fault", [soften, turn])
def test_a_fault_in_a_rearranged_graph_is_found(
    style: str, fault: Callable[[onnx.ModelProto], str], tmp_path: Path
) -> None:
    planted: list[str] = []
    found = why(Attention(style), tmp_path, form="QDQ", fault=lambda m: planted.append(fault(m)))
    assert [each.operator for each in found.causes] == planted


def why(
    network: nn.Module,
    folder: Path,
    *,
    form: str,
    per_channel: bool = False,
    fault: Callable[[onnx.ModelProto], None] = lambda _model: None,
) -> Why:
    torch.manual_seed(0)
    for each in network.parameters():
        nn.init.normal_(each, 0, 0.5)
    values = np.random.default_rng(1).normal(0, 1, (8, STEPS, WIDTH)).astype(np.float32)
    # ONNX Runtime's shape inference does not take PyTorch's own attention
    plain = isinstance(network, Standard)
    real, made = write_both(
        network, values, folder, form=form, per_channel=per_channel, skip_symbolic_shape=plain
    )
    model = onnx.load(made)
    fault(model)
    onnx.save(model, made)
    source = edgeq.load_data({"test": values})
    return edgeq.why([real, made], source, targets=["ort-cpu-ref"])
