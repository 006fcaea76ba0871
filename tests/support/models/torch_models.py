"""Torch networks with quantisers that know no class of edgeq's, and a loader that gives them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import torch
from torch import fx, nn

from edgeq.errors import ArtefactError
from edgeq.network.loading import LoadedModel
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.network.loading import Loader

SHAPE = (3, 8, 8)


class Grid(nn.Module):
    """A quantiser by the protocol of :mod:`edgeq.network.layer_protocols`."""

    def __init__(self, scale: float, top: int, *, rounding: bool) -> None:
        super().__init__()
        self.scale, self.top, self.rounding = scale, top, rounding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        clipped = x.clamp(0.0, self.top * self.scale)
        return torch.round(clipped / self.scale) * self.scale if self.rounding else clipped

    def quant_params(self) -> QuantParams:
        return QuantParams.of(self.scale, 0, "uint8", qmax=self.top)


class Network(nn.Module):
    """A convolution and a classifier, with or without quantisers."""

    def __init__(self, *, quantized: bool, rounding: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 10)
        grids = {
            "conv": Grid(0.05, 15, rounding=rounding),
            "pool": Grid(0.01, 255, rounding=rounding),
        }
        self.quantizers = nn.ModuleDict(grids if quantized else {})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x))
        if "conv" in self.quantizers:
            x = self.quantizers["conv"](x)
        x = x.mean((2, 3))
        if "pool" in self.quantizers:
            x = self.quantizers["pool"](x)
        out: torch.Tensor = self.head(x)
        return out


def shared_grid(*, rounding: bool) -> fx.GraphModule:
    """One quantiser called for two tensors, as insertion makes it.

    The graph's nodes carry the tensors' names.
    """
    root = nn.Module()
    root.conv = nn.Conv2d(3, 3, 3, padding=1)
    root.grid = Grid(0.05, 15, rounding=rounding)
    graph = fx.Graph()
    x = graph.placeholder("x")
    first = graph.create_node("call_module", "grid", (x,), name="x_quantized")
    conv = graph.create_node("call_module", "conv", (first,), name="conv")
    second = graph.create_node("call_module", "grid", (conv,), name="conv_quantized")
    graph.output(graph.call_method("flatten", (second, 1)))
    return fx.GraphModule(root, graph)


def loader(build: Callable[[bool], nn.Module], shape: tuple[int, ...] = SHAPE) -> Loader:
    """A loader that checks a file as the real one has to, and gives ``build(rounding)``."""

    def load(path: Path, *, rounding: bool = True) -> LoadedModel:
        if path.read_bytes() != checkpoint_content():
            raise ArtefactError(f"{path} is no whole checkpoint", hint="train again")
        return LoadedModel(build(rounding).eval(), shape, quantized=True, metadata={})

    return load


def checkpoint_content() -> bytes:
    """The bytes of an empty safetensors file."""
    header = b'{"__metadata__":{"format":"pt"}}'
    return struct.pack("<Q", len(header)) + header
