"""Networks as ONNX Runtime's own quantiser writes them: other names, operators left in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from tests.support.faults.seeds import seeded
from tests.support.runtimes.calibration import Feeds
from torch import nn
from torch.nn import functional

import edgeq

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import DataSource

SHAPE = (4, 8, 8)


class Branches(nn.Module):
    """Activations in front of several inputs, and behind a part."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.c, self.d = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.swish, self.last = nn.Hardswish(), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.cat([torch.relu(self.a(x)), torch.relu(self.b(x))], 1)
        y = y + torch.relu(self.c(y))
        front, back = torch.split(self.swish(self.d(y)), 2, 1)
        y = torch.cat([torch.relu(back), front, self.d(y)], 1)
        result: torch.Tensor = self.last(y.mean((2, 3)))
        return result


class Functions(nn.Module):
    """Operators of which ONNX Runtime's quantiser leaves many in float."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 8, 3, padding=1, stride=2)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.b, self.c = nn.Conv2d(8, 8, 1), nn.Conv2d(16, 8, 3, padding=1)
        self.d, self.e = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.leaky, self.elu = nn.LeakyReLU(0.1), nn.ELU(0.7)
        self.average, self.maximum = nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.up, self.last = nn.ConvTranspose2d(8, 8, 2, 2), nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.a(functional.pad(x, (0, 8, 0, 8))))
        y = functional.relu6(self.grouped(x))
        joined = torch.cat([self.leaky(self.b(y)), self.elu(self.d(y))], 1)
        swish = functional.hardswish(self.c(joined))
        gated = swish * torch.sigmoid(swish)
        apart = self.average(gated - x)
        apart = functional.interpolate(apart, scale_factor=2, mode="bilinear")
        y = self.up(self.maximum(functional.max_pool2d(apart, 2)))
        y = torch.relu(self.e(y) + gated)
        y = (y / (torch.sigmoid(y) + 1))[:, [3, 1, 2, 0, 4, 5, 6, 7]]
        tokens = torch.tanh(y).flatten(2).transpose(1, 2)
        result: torch.Tensor = torch.softmax(self.last(tokens), -1).mean(1)
        return result


NETWORKS: dict[str, type[nn.Module]] = {"branches": Branches, "functions": Functions}


def quantized(
    name: str, folder: Path, **options: Any
) -> tuple[onnx.ModelProto, onnx.ModelProto, DataSource]:
    """A network in float, as ONNX Runtime quantises it, and samples for it.

    Args:
        name: of the network.
        folder: where the files are written.
        options: of ``quantize_static``.
    """
    torch.manual_seed(seeded(0))
    values = np.random.default_rng(seeded(1)).normal(0, 1, (8, *SHAPE)).astype(np.float32)
    real, made = write_both(NETWORKS[name](), values, folder, batch=None, **options)
    source = edgeq.load_data({"test": values[:4]})
    return onnx.load(real), onnx.load(made), source


def write_both(
    network: nn.Module,
    values: NDArray[np.float32],
    folder: Path,
    *,
    prepared: bool = True,
    batch: str | None = "n",
    opset: int = 17,
    form: str = "QDQ",
    skip_symbolic_shape: bool = True,
    **options: Any,
) -> tuple[Path, Path]:
    """Export a network, and let ONNX Runtime prepare and quantise it.

    Args:
        network: what is exported, in evaluation mode.
        values: samples, one along the first axis each.
        folder: where the files are written.
        prepared: whether ONNX Runtime optimises the graph first.
        batch: the name of the batch; None for one that is fixed at 1.
        opset: of the float file.
        form: ``QDQ`` or ``QOperator``.
        skip_symbolic_shape: whether the preparation leaves its own shape inference out.
        options: of ``quantize_static``.

    Returns:
        The float file and the quantised one.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    real, ready, made = (folder / f"{each}.onnx" for each in ("float", "prepared", "quantised"))
    torch.onnx.export(
        network.eval(),
        (torch.from_numpy(values[:1]),),
        str(real),
        input_names=["x"],
        dynamic_axes=None if batch is None else {"x": {0: batch}},
        opset_version=opset,
        dynamo=False,
    )
    if prepared:
        quant_pre_process(str(real), str(ready), skip_symbolic_shape=skip_symbolic_shape)
    quantization.quantize_static(
        str(ready if prepared else real),
        str(made),
        Feeds({"x": value[np.newaxis]} for value in values),
        quant_format=quantization.QuantFormat[form],
        **options,
    )
    return real, made


def plain(name: str) -> str:
    """The name of a tensor without what ONNX Runtime's quantiser appends."""
    for each in ("QuantizeLinear_Input", "QuantizeLinear_Output", "DequantizeLinear_Output"):
        name = name.removesuffix(f"_{each}")
    return name.removesuffix("_quantized").removesuffix("_dequantized")
