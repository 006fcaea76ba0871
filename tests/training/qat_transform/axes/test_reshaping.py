"""One number for each sample that is given an axis behind the batch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from edgeq.errors import UsageError
from edgeq.exporters.torch.lower import lower
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Reduced(nn.Module):
    def __init__(self, reduce: Callable[[Any], Any]) -> None:
        super().__init__()
        self.layer, self.reduce = nn.Linear(6, 3), reduce

    def forward(self, x: Any) -> Any:
        return self.reduce(self.layer(x))


@pytest.mark.parametrize(
    "reduce",
    [
        lambda x: x.sum(1).view(-1, 1),
        lambda x: x.mean(1)[:, None],
        lambda x: x.amax(-1).unsqueeze(1),
    ],
)
def test_a_reduction_keeps_the_axis(reduce: Callable[[Any], Any]) -> None:
    network = Reduced(reduce)
    torch.testing.assert_close(trace(network, X)(X), network(X))
    model = quantize(network, Scheme(), X).train()
    model(X)
    assert lower(model.eval(), (6,)).graph.outputs[0].shape is not None


def test_what_was_not_reduced_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="unsqueeze gives an axis to what has none"):
        trace(Reduced(lambda x: x[:, 0].unsqueeze(1)), X)
