"""Blocks that grow: the published concatenation expands, the certified form does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import torch

from edgeq.models.mobilenet_v2 import STAGES, StableInvertedResidual

if TYPE_CHECKING:
    from torch import Tensor

    from edgeq.models.stability.symmetric import StepMode

UNPOOLED = [stage for stage in STAGES if stage.after > stage.before and stage.stride == 1]


def expansion(mode: StepMode, before: int, after: int, stride: int) -> float:
    torch.manual_seed(before)
    block = StableInvertedResidual(before, after, stride, 2, mode=mode).double().eval()
    x = torch.randn(1, before, 4, 4, dtype=torch.float64)
    jacobian = cast("Tensor", torch.autograd.functional.jacobian(block, x))
    return float(torch.linalg.matrix_norm(jacobian.reshape(-1, x.numel()), 2))


def test_three_stages_grow_without_pooling() -> None:
    assert [(stage.before, stage.after) for stage in UNPOOLED] == [(16, 24), (64, 96), (160, 320)]


@pytest.mark.parametrize(("after", "stride"), [(6, 1), (8, 1), (6, 2), (8, 2), (4, 1)])
def test_a_certified_block_does_not_expand(after: int, stride: int) -> None:
    assert expansion("certified", 4, after, stride) <= 1 + 1e-9


def test_the_published_one_does_where_no_mean_follows() -> None:
    assert expansion("paper", 4, 8, 1) > 1.2
    assert expansion("paper", 4, 8, 2) < 1
