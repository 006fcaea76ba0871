"""``edgeq why`` raises no alarm on files that ONNX Runtime's own quantiser wrote.

It drops activations for the ends of a grid, and writes functions out by their definition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.support.runtimes.ort_quantized import Branches, write_both
from torch import nn
from torch.nn import functional

import edgeq

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.deploy.why.records import Why

CHANNELS = 4
KINDS = (
    "layer",
    "layer",
    "depthwise",
    "beside",
    "added",
    "gated",
    "parts",
    "larger",
    "maximum",
    "average",
    "norm",
    "transposed",
)
WRONG = {50: "activation is missing"}
"""Where it is at fault: all of a ReLU6's results are zero, so that it takes a grid of step 1 around
zero, and drops the ReLU6 although that grid goes below zero."""
ACTIVATIONS = (nn.ReLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.SiLU, nn.Identity)


class Chance(nn.Module):
    """Three to seven blocks of twelve kinds, each behind one of the last two."""

    def __init__(self, random: np.random.Generator) -> None:
        super().__init__()
        self.random, self.blocks = random, nn.ModuleList()
        self.kinds: list[tuple[str, int]] = []
        widths = [CHANNELS]
        for _ in range(int(random.integers(3, 8))):
            source = int(random.integers(max(0, len(widths) - 2), len(widths)))
            block, kind, width = self._block(widths[source])
            self.blocks.append(block)
            self.kinds.append((kind, source))
            widths.append(width)
        self.last = nn.Linear(widths[-1], 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = [x]
        for block, (kind, source) in zip(self.blocks, self.kinds, strict=True):
            read = made[source]
            result = block(read)
            if kind == "beside":
                result = torch.cat([result, read], 1)
            elif kind == "added":
                result = torch.relu(result + read)
            elif kind == "gated":
                result = read * torch.sigmoid(result)
            elif kind == "parts":
                one, other = torch.chunk(result, 2, 1)
                result = torch.cat([torch.relu(other), one], 1)
            elif kind == "larger":
                result = functional.max_pool2d(functional.interpolate(result, scale_factor=2), 2)
            made.append(result)
        answer: torch.Tensor = self.last(made[-1].mean((2, 3)))
        return answer

    def _block(self, width: int) -> tuple[nn.Module, str, int]:
        kind = str(self.random.choice(KINDS))
        more = int(self.random.choice([4, 8]))
        act = ACTIVATIONS[self.random.integers(len(ACTIVATIONS))]
        block: nn.Module
        if kind in ("layer", "beside", "parts", "larger"):
            size = int(self.random.choice([1, 3]))
            norm = nn.BatchNorm2d(more) if self.random.random() < 0.5 else nn.Identity()
            block = nn.Sequential(nn.Conv2d(width, more, size, padding=size // 2), norm, act())
            return block, kind, more + width if kind == "beside" else more
        if kind == "depthwise":
            block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, groups=width), act())
        elif kind == "added":
            block = nn.Sequential(nn.Conv2d(width, width, 1), act(), nn.Conv2d(width, width, 1))
        elif kind == "gated":
            block = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU(), nn.Conv2d(4, width, 1)
            )
        elif kind == "norm":
            block = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1))
        elif kind == "transposed":
            up, down = nn.ConvTranspose2d(width, more, 2, 2), nn.Conv2d(more, more, 3, 2, 1)
            return nn.Sequential(up, nn.ReLU(), down), kind, more
        else:
            block = (nn.MaxPool2d if kind == "maximum" else nn.AvgPool2d)(3, 1, 1)
        return block, kind, width


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_activations_before_several_inputs(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = why(Branches(), tmp_path, prepared=True, form=form)
    assert not found.causes
    assert [each.verdict for each in found.stages] == ["", "quantisation"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(100))
def test_random_networks(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = Chance(random)
    for each in network.modules():
        if isinstance(each, nn.BatchNorm2d):
            statistics = each.state_dict()
            nn.init.normal_(statistics["running_mean"], 0, 0.3)
            nn.init.uniform_(statistics["running_var"], 0.5, 1.5)
    found = why(
        network,
        tmp_path,
        prepared=random.random() < 0.6,
        form="QDQ" if random.random() < 0.75 else "QOperator",
        opset=int(random.choice([13, 15, 17, 18])),
        per_channel=bool(random.integers(2)),
        symmetric=bool(random.random() < 0.2),
    )
    assert [WRONG.get(seed, "") in each.what for each in found.causes] == [True] * (seed in WRONG)


def why(
    network: nn.Module,
    folder: Path,
    *,
    prepared: bool,
    form: str,
    opset: int = 17,
    per_channel: bool = False,
    symmetric: bool = False,
) -> Why:
    """Export a network, let ONNX Runtime quantise it, and ask why it differs."""
    values = np.random.default_rng(1).normal(0, 1, (8, CHANNELS, 8, 8)).astype(np.float32)
    files = write_both(
        network,
        values,
        folder,
        prepared=prepared,
        opset=opset,
        form=form,
        per_channel=per_channel,
        extra_options={"ActivationSymmetric": symmetric},
    )
    data = edgeq.load_data({"test": values})
    return edgeq.why(files, data, targets=["ort-cpu-ref"])
