"""Norms in integers: within one step of exact ones where the deviations of tokens are alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgeq.errors import UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.exporters.torch.lower import lower
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.recipes.scheme import Scheme

TOKENS, FEATURES = 12, 32


def tokens(ratio: float) -> torch.Tensor:
    """Tokens whose standard deviations differ by a ratio, around means of their own."""
    torch.manual_seed(0)
    deviations = torch.logspace(0, -float(torch.tensor(ratio).log10()), TOKENS)
    noise = torch.randn(8, TOKENS, FEATURES) * deviations[:, None]
    return noise + torch.randn(8, TOKENS, 1) * 0.3


@pytest.mark.parametrize(("ratio", "steps"), [(1.0, 1.0), (10.0, 1.0), (30.0, 8.0)])
@pytest.mark.parametrize("kind", ["LayerNorm", "RMSNorm"])
def test_a_result_is_within_some_steps_of_the_exact_one(
    kind: str, ratio: float, steps: float
) -> None:
    norm: nn.Module = getattr(nn, kind)(FEATURES, elementwise_affine=False)
    x = tokens(ratio)
    model = quantize(nn.Sequential(norm), Scheme(), x).train()
    with torch.no_grad():
        model(x)
        model.eval()
        grids: Any = model.quantizers
        first, *_, last = grids.values()
        off = (model(x) - norm(first(x))) / last.scale
    assert float(off.abs().max()) <= steps


class Images(nn.Module):
    """All norms over each sample, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.norms = nn.Sequential(
            nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True), nn.LayerNorm([6, 6])
        )

    def forward(self, x: Any) -> Any:
        x = nn.functional.instance_norm(self.norms(self.first(x)).relu())
        return self.last(nn.functional.rms_norm(x, (6, 6)))


@pytest.mark.parametrize("norms", ["integer", "float"])
def test_norms_are_integers_in_tflite_unless_float_is_asked_for(norms: Any) -> None:
    torch.manual_seed(0)
    x, network = torch.randn(4, 3, 8, 8), Images()
    traced = trace(network, x, norms_in_integers=norms == "integer")
    torch.testing.assert_close(traced(x), network(x))
    model = quantize(network, Scheme(norms=norms), x).train()
    model(x).square().mean().backward()
    assert all(each.grad is not None for each in model.parameters() if each.requires_grad)
    lowered = lower(model.eval(), (3, 8, 8))
    exported = tflite.export(lowered, ExportOptions(allow_float=norms == "float"))
    assert exported.parity.different == ()
    kept = () if exported.in_float is None else exported.in_float.operators
    assert bool(kept) == (norms == "float")
    assert {each.partition(" ")[0] for each in kept} <= {"LayerNormalization"}


class Alike(nn.Module):
    """How alike two vectors are, as siamese networks tell."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, one: Any, other: Any) -> Any:
        one, other = self.layer(one), self.layer(other)
        alike = nn.functional.cosine_similarity(one, other, dim=1)
        return alike, nn.functional.normalize(one, dim=1) - nn.functional.normalize(other)


def test_vectors_of_unit_length_are_near_those_of_torch() -> None:
    torch.manual_seed(0)
    network, pair = Alike(), [torch.randn(16, 6), torch.randn(16, 6)]
    torch.testing.assert_close(trace(network, pair)(*pair), network(*pair))
    model = quantize(network, Scheme(), pair).train()
    with torch.no_grad():
        model(*pair)
        for found, wanted in zip(model.eval()(*pair), network(*pair), strict=True):
            torch.testing.assert_close(found, wanted, atol=0.05, rtol=0)
    exported = tflite.export(lower(model, [(6,), (6,)]), ExportOptions())
    assert exported.parity.different == ()
    with pytest.raises(UsageError, match="another length than 2"):
        trace(Other(), pair[:1])


class Masked(nn.Module):
    """Attention with a mask of minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.mask = nn.Linear(3, 3), nn.Buffer(torch.full((6, 6), -torch.inf).triu(1))

    def forward(self, x: Any) -> Any:
        x = self.layer(x)
        return (x @ x.transpose(1, 2) + self.mask).sigmoid()


def test_a_constant_without_a_grid_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="mask is a constant that holds infinity"):
        quantize(Masked(), Scheme(), torch.randn(2, 6, 3))


class Other(nn.Module):
    def forward(self, x: Any) -> Any:
        return nn.functional.normalize(x, p=1)


def test_what_cannot_be_said_is_refused() -> None:
    unknown: Any = "half"
    with pytest.raises(UsageError, match="norms"):
        Scheme(norms=unknown)
    with pytest.raises(UsageError, match="its size, which is not known") as told:
        quantize(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)), Scheme())
    assert "give an example" in told.value.hint
