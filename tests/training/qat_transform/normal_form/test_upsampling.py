"""Resizing by any factor and mode: what training takes, TFLite takes too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.torch.lower import lower
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.recipes.scheme import Scheme

IMAGES = torch.randn(3, 2, 12, 10, generator=torch.Generator().manual_seed(0))
LINEAR: dict[str, Any] = {"mode": "bilinear"}
CASES: dict[str, dict[str, Any]] = {
    "corners": {"scale_factor": 2, **LINEAR, "align_corners": True},
    "corners of one size": {"size": (12, 29), **LINEAR, "align_corners": True},
    "thrice": {"scale_factor": 3, **LINEAR},
    "by parts of a pixel": {"scale_factor": (1.5, 0.5), **LINEAR},
    "smaller": {"size": 7, **LINEAR},
    "bicubic": {"scale_factor": 2, "mode": "bicubic"},
    "nearest to any size": {"size": (17, 13)},
    "twice, one operator": {"scale_factor": 2, **LINEAR},
}


class Resized(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.first, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(F.interpolate(self.first(x), **self.options))
        return out


@pytest.mark.parametrize("case", CASES)
def test_it_is_trained_and_written_in_integers(case: str) -> None:
    network = Resized(**CASES[case]).eval()
    traced = trace(network, IMAGES)
    with torch.no_grad():
        torch.testing.assert_close(traced(IMAGES), network(IMAGES))
    sampled = any(node.target is F.interpolate for node in traced.graph.nodes)
    assert sampled == ("one operator" in case)
    model = quantize(network, Scheme(), IMAGES).train()
    model(IMAGES)
    model.eval()
    with torch.no_grad():
        assert (model(IMAGES) - network(IMAGES)).abs().max() < 0.1
    exported = exporter.export(lower(model, IMAGES.shape[1:]), ExportOptions())
    assert exported.parity.different == ()
    assert exported.in_float is None
