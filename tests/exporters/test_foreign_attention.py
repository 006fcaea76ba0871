"""Transformers that ONNX Runtime's own tools quantised, as PyTorch's exporter writes attention.

Each is an exact TFLite file whose operators agree with ONNX Runtime on equal integers. Sizes are
computed in the file from the batch, which is not always the first axis on the way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from tests.support.runtimes.calibration import Feeds
from torch import nn
from torch.nn import functional

from edgeq.deploy.evaluation.verify import verify_arrays
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.qdq.qoperator.convert import read_as_qdq

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx_ir as ir

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning"
)
TOKENS, WIDTH, HEADS = 5, 8, 2
IN_FLOAT = ExportOptions(allow_float=True)
U8, S8 = QuantType.QUInt8, QuantType.QInt8


class Attention(nn.Module):
    """Queries, keys and values from one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)


class Unbound(Attention):
    """The batch becomes the second axis, behind the one that tells queries from keys."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-1, -2) * (d // HEADS) ** -0.5, -1)
        mixed: torch.Tensor = self.out((weights @ v).transpose(1, 2).reshape(b, t, d))
        return mixed


class Chunked(Attention):
    """Slices by computed bounds, scores over a computed root."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = (
            part.view(b, t, HEADS, d // HEADS).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)
        )
        weights = torch.softmax(q @ k.transpose(2, 3) / (d // HEADS) ** 0.5, -1)
        mixed: torch.Tensor = self.out((weights @ v).transpose(1, 2).contiguous().view(b, t, d))
        return mixed


class Merged(Attention):
    """The heads are merged with the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = (
            part.reshape(b, t, HEADS, d // HEADS).transpose(1, 2).reshape(b * HEADS, t, d // HEADS)
            for part in self.qkv(x).chunk(3, -1)
        )
        weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * 0.5, -1)
        mixed = torch.bmm(weights, v).reshape(b, HEADS, t, d // HEADS).transpose(1, 2)
        result: torch.Tensor = self.out(mixed.reshape(b, t, d))
        return result


class Fused(Attention):
    """PyTorch's own function, which its exporter writes out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        result: torch.Tensor = self.out(mixed.transpose(1, 2).reshape(b, t, d))
        return result


class BatchSecond(nn.Module):
    """PyTorch's own module, tokens first."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, HEADS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turned = x.transpose(0, 1)
        mixed: torch.Tensor = self.inner(turned, turned, turned, need_weights=False)[0]
        return mixed.transpose(0, 1)


class WrittenOut(nn.Module):
    """A LayerNorm in operators that ONNX Runtime's tool leaves in float."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(0.9, 1.1, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        away = x - x.mean(-1, keepdim=True)
        return away / torch.sqrt((away**2).mean(-1, keepdim=True) + 1e-5) * self.gain


class Network(nn.Module):
    """One block behind an embedding, and a class."""

    def __init__(self, attention: nn.Module, gelu: str, norm: nn.Module) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(3, WIDTH), nn.Parameter(torch.randn(1, TOKENS, WIDTH))
        self.attention, self.before = attention, norm
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(gelu), nn.Linear(16, WIDTH))
        self.last = nn.Linear(WIDTH, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x) + self.place
        x = x + self.attention(self.before(x))
        result: torch.Tensor = self.last((x + self.mlp(x)).mean(1))
        return result


def layer_norm() -> nn.Module:
    return nn.LayerNorm(WIDTH)


@dataclass(frozen=True)
class Style:
    """How a network is written and quantised."""

    attention: Callable[[], nn.Module]
    gelu: str = "none"
    batch: str | None = "n"
    prepared: bool = False
    norm: Callable[[], nn.Module] = layer_norm
    options: dict[str, Any] = field(default_factory=dict)


QDQ_S8 = {"activation_type": S8, "weight_type": S8, "quant_format": QuantFormat.QDQ}
QDQ_U8 = {**QDQ_S8, "activation_type": U8}
BY_CHANNEL = {**QDQ_S8, "per_channel": True}
QOPERATOR = {**QDQ_U8, "quant_format": QuantFormat.QOperator}
STYLES = {
    "unbound, prepared, by channel": Style(Unbound, prepared=True, options=BY_CHANNEL),
    "unbound, as exported, QOperator": Style(Unbound, "tanh", options=QOPERATOR),
    "unbound, fixed batch": Style(Unbound, "tanh", batch=None, options=QDQ_S8),
    "chunked, prepared": Style(Chunked, prepared=True, options=QDQ_S8),
    "chunked, as exported": Style(Chunked, options=QDQ_U8),
    "merged, QOperator by channel": Style(
        Merged, options={**BY_CHANNEL, "quant_format": QuantFormat.QOperator}
    ),
    "fused": Style(Fused, "tanh", options=QDQ_U8),
    "norm written out": Style(Unbound, norm=WrittenOut, options=QDQ_U8),
    "norm written out, QOperator": Style(Unbound, norm=WrittenOut, options=QOPERATOR),
    "batch second": Style(BatchSecond, options=QDQ_S8),
    "batch second, prepared": Style(BatchSecond, prepared=True, options=BY_CHANNEL),
}


def samples(count: int) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(1, TOKENS, 3)).astype(np.float32) for _ in range(count)]


def quantized(style: Style, folder: Path) -> ir.Model:
    torch.manual_seed(1)
    path = folder / "float.onnx"
    torch.onnx.export(
        Network(style.attention(), style.gelu, style.norm()).eval(),
        (torch.from_numpy(samples(1)[0]),),
        path,
        opset_version=17,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: style.batch}, "y": {0: style.batch}} if style.batch else None,
        dynamo=False,
    )
    if style.prepared:
        quant_pre_process(str(path), str(folder / "prepared.onnx"), skip_symbolic_shape=True)
        path = folder / "prepared.onnx"
    feeds = Feeds({"x": sample} for sample in samples(8))
    quantize_static(path, folder / "quantized.onnx", feeds, **style.options)
    return read_as_qdq(folder / "quantized.onnx")


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_attention_is_exact(style: Style, tmp_path: Path) -> None:
    """Only the norms are computed in float, since TFLite has no integer kernel for them."""
    model = quantized(style, tmp_path)
    named = r"(LayerNormalization .* no integer kernel|result of ReduceMean .* stays in float)"
    with pytest.raises(ArtefactError, match=named) as caught:
        exporter.export(model, ExportOptions())
    assert "--allow-float" in caught.value.hint
    exported = exporter.export(model, IN_FLOAT)
    assert exported.parity.different == ()
    assert exported.parity.compared > 500
    verification = verify_arrays(model, exported, ({"x": sample} for sample in samples(2)))
    verification.require()
    assert sum(tensor.compared for tensor in verification.tensors) > 2000


def test_what_is_computed_from_the_batch_is_named(tmp_path: Path) -> None:
    """A number that another batch changes is no constant."""

    class ByCount(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * math.pi / torch.tensor(x.shape[0])

    style = Style(ByCount, options=QDQ_S8)
    with pytest.raises(ArtefactError, match="computes with a size that only the input") as caught:
        exporter.export(quantized(style, tmp_path), IN_FLOAT)
    assert "fixed batch" in caught.value.hint


def test_a_model_keeps_its_nodes(tmp_path: Path) -> None:
    model = quantized(STYLES["unbound, as exported, QOperator"], tmp_path)
    exporter.export(model, IN_FLOAT)
    assert any(node.op_type == "Shape" for node in model.graph)
