"""Quantised networks of the zoo, a few steps away from their initialisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tests.support.checks.exactness import roughen

from edgeq.models import zoo
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import fx

SHAPE = (3, 16, 16)


@pytest.fixture(scope="session")
def network() -> Callable[..., fx.GraphModule]:
    """``network(name, scheme)``: a quantised network, made anew at each call."""

    def make(name: str = "stable-resnet8", scheme: Scheme = Scheme(4, 4)) -> fx.GraphModule:  # noqa: B008  # frozen
        torch.manual_seed(0)
        return roughen(quantize(zoo.build(name, classes=10), scheme), SHAPE)

    return make
