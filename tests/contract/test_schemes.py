"""The exactness contract for every scheme.

Each method, width and rule that can be asked for, or a refusal with its reason.

Methods come from the catalogue, so that one that is added to it is held to the contract, or has to
say why it cannot be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.contract import test_exactness as random_networks
from tests.support.checks.exactness import check_rows_one_and_two, roughen
from torch import fx, nn

from edgeq.data import DataSource, Preprocessing, Split
from edgeq.deploy.evaluation.verify import verify
from edgeq.errors import EdgeqError, UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.exporters.torch.lower import lower
from edgeq.models import zoo
from edgeq.network.layer_rules import LayerRule
from edgeq.training.qat_transform import quantize
from edgeq.training.quantizers.catalogue import METHODS, Method
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (3, 8, 8)
MOST_FLIPS = 1e-3  # a share of all integers; at ties, which are rare
MOST_ERROR = 0.25  # LSB; half a step would allow anything
# the grid of a sign has steps of a thousandth, so that float error shows next to zero, where the
# sign is 0
OF_SIGNS = 1.0
SMALL = "bottleneck"  # holds one of each kind of tensor
NETWORKS = (SMALL, "resnet8", "stable-resnet8", "mlp")
MIXED = (LayerRule("*1*", weight_bits=8, act_bits=6), LayerRule("*2*", weight_bits=3, act_bits=2))
NO_TIES = (LayerRule("stages.*", per_channel=False),)

SCHEMES = {
    "per-channel": Scheme(4, 4, per_channel=True),
    "affine": Scheme(4, 4, affine=True),
    "affine-8": Scheme(8, 8, affine=True),
    "mixed": Scheme(4, 4, layers=MIXED),
    "all-at-once": Scheme(4, 6, per_channel=True, affine=True, layers=MIXED),
    "first-last-inner": Scheme(4, 4, first_last="inner"),
    "edge-6": Scheme(4, 8, boundary_bits=6),
}
IN_FLOAT = {
    "first-last-float": Scheme(4, 4, first_last="float"),
    "paper-edge": Scheme(4, 4, placement="paper", first_last="boundary"),
    "paper-inner": Scheme(4, 4, placement="paper", first_last="inner"),
    "paper-mixed": Scheme(4, 4, placement="paper", layers=MIXED),
}


def cases(schemes: dict[str, Scheme], everywhere: str) -> Iterator[Any]:
    """Each scheme on the small network, and the one that changes most on every network.

    The others there are slow.
    """
    for tag, scheme in schemes.items():
        for name in NETWORKS:
            marks = () if name == SMALL or tag == everywhere else pytest.mark.slow
            yield pytest.param(scheme, name, id=f"{tag}-{name}", marks=marks)


class Bottleneck(nn.Module):
    """Linear, depthwise, residual, joined and pooled.

    One of each kind of tensor, as small as it gets.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.b1 = nn.ModuleList([nn.Conv2d(6, 12, 1, bias=False), nn.BatchNorm2d(12)])
        self.depthwise = nn.ModuleList(
            [nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12)]
        )
        self.b2 = nn.ModuleList([nn.Conv2d(12, 6, 1, bias=False), nn.BatchNorm2d(6)])
        self.side = nn.Conv2d(6, 4, 1)
        self.last = nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.first(x))
        y = torch.relu(self.b1[1](self.b1[0](x)))
        y = torch.relu(self.depthwise[1](self.depthwise[0](y)))
        x = x + self.b2[1](self.b2[0](y))
        x = nn.functional.avg_pool2d(torch.cat([x, self.side(x)], 1), 2)
        out: torch.Tensor = self.last(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return out


class Perceptron(nn.Module):
    """Three fully connected layers, with and without BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Linear(3 * 8 * 8, 16)
        self.norm = nn.BatchNorm1d(16)
        self.layer2 = nn.Linear(16, 12)
        self.layer3 = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.layer1(x.flatten(1))))
        out: torch.Tensor = self.layer3(torch.relu(self.layer2(x)))
        return out


class DepthwiseAdjoint(nn.Module):
    """A depthwise convolution and its adjoint on one weight.

    Each channel is output channel of both, so it may have its scale.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.k = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.kt = nn.ConvTranspose2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.kt.weight = self.k.weight
        self.norms = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(6)])
        self.last = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        y = torch.relu(self.norms[0](self.k(x)))
        x = torch.relu(x - 0.1 * self.norms[1](self.kt(y)))
        out: torch.Tensor = self.last(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return out


def float_network(name: str) -> nn.Module:
    torch.manual_seed(0)
    own = {SMALL: Bottleneck, "mlp": Perceptron, "depthwise-adjoint": DepthwiseAdjoint}
    return own[name]() if name in own else zoo.build(name, classes=5)


def network(name: str, scheme: Scheme) -> fx.GraphModule:
    if scheme.per_channel and name.startswith("stable"):
        scheme = replace(scheme, layers=(*scheme.layers, *NO_TIES))
    return roughen(quantize(float_network(name), scheme), SHAPE)


def images(samples: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 1, (samples, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def source() -> DataSource:
    generator = np.random.default_rng(2)
    part = Split(
        {"": generator.integers(0, 256, (4, *SHAPE[1:], 3), np.uint8)},
        np.zeros(4, np.int64),
        np.arange(4),
    )
    return DataSource(
        "random images",
        ("none",) * 5,
        part,
        part,
        part,
        Preprocessing.normalized((0.5,) * 3, (0.25,) * 3),
    )


def hold_rows_one_and_two(
    model: fx.GraphModule, folder: Path, most_error: float = MOST_ERROR
) -> None:
    verdict = check_rows_one_and_two(model, images(), folder)
    assert verdict.error < most_error
    assert verdict.flips <= MOST_FLIPS * verdict.compared
    # Row two allows 1 LSB, which the check has seen to; an average of four integers is a tie in one
    # case of four.


def hold(
    model: fx.GraphModule, folder: Path, source: DataSource, most_error: float = MOST_ERROR
) -> None:
    """Rows one to three, and each operator in TFLite's reference kernels on equal integers."""
    hold_rows_one_and_two(model, folder, most_error)
    lowered = lower(model, SHAPE)
    exported = tflite.export(lowered, ExportOptions(io_type="int8"))
    assert exported.parity.different == ()
    assert exported.parity.compared > 0
    verify(lowered, exported, source, limit=3).require()


@pytest.mark.parametrize(("scheme", "name"), tuple(cases(SCHEMES, "all-at-once")))
def test_a_scheme_is_exact_on_both_references(
    scheme: Scheme, name: str, tmp_path: Path, source: DataSource
) -> None:
    hold(network(name, scheme), tmp_path, source)


def test_a_depthwise_adjoint_may_have_a_scale_for_each_channel(
    tmp_path: Path, source: DataSource
) -> None:
    model: Any = network("depthwise-adjoint", SCHEMES["per-channel"])
    assert [layer.quantizer.clip.axis for layer in (model.k, model.kt)] == [0, 0]
    hold(model, tmp_path, source)


@pytest.mark.parametrize(("scheme", "name"), tuple(cases(IN_FLOAT, "paper-mixed")))
def test_a_scheme_with_parts_in_float_is_exact_in_its_integers(
    scheme: Scheme, name: str, tmp_path: Path
) -> None:
    model = network(name, scheme)
    hold_rows_one_and_two(model, tmp_path)
    exported = tflite.export(lower(model, SHAPE), ExportOptions(allow_float=True))
    assert exported.parity.different == ()


# -- every method of the catalogue -----------------------------------------------------------------


def scheme_of(method: Method, bits: int, *, per_channel: bool = False) -> Scheme:
    width = "weight_bits" if method.role == "weights" else "act_bits"
    fields: dict[str, Any] = {
        "weight_bits": 4,
        "act_bits": 4,
        method.role: method.name,
        width: bits,
        "per_channel": per_channel,
    }
    return Scheme.from_dict(fields)


def exact_cases() -> Iterator[Any]:
    """The smallest and the largest width of each method, where ranges have their limits.

    Four bits between them are slow.
    """
    for method in METHODS:
        ends = {method.exact[0], method.exact[-1]} if method.exact else set()
        for bits in sorted(ends | {4} & set(method.exact)):
            for per_channel in {False, method.per_channel}:
                tag, marks = (
                    "-per-channel" if per_channel else "",
                    () if bits in ends else pytest.mark.slow,
                )
                yield pytest.param(
                    method,
                    bits,
                    per_channel,
                    id=f"{method.role}-{method.name}-{bits}{tag}",
                    marks=marks,
                )


def refused_cases() -> Iterator[Any]:
    for method in METHODS:
        for bits in sorted(set(method.widths) - set(method.exact))[:1]:
            yield pytest.param(method, bits, id=f"{method.role}-{method.name}-{bits}")


EXACT, REFUSED = tuple(exact_cases()), tuple(refused_cases())


@pytest.mark.parametrize(("method", "bits", "per_channel"), EXACT)
def test_a_method_that_claims_to_be_exact_is(
    method: Method, bits: int, per_channel: bool, tmp_path: Path, source: DataSource
) -> None:
    hold(network(SMALL, scheme_of(method, bits, per_channel=per_channel)), tmp_path, source)


@pytest.mark.parametrize(("method", "bits"), REFUSED)
def test_a_method_that_cannot_be_exported_says_why(method: Method, bits: int) -> None:
    model = network(SMALL, scheme_of(method, bits))
    assert torch.isfinite(model(torch.from_numpy(images()))).all(), (
        "it trains and evaluates all the same"
    )
    with pytest.raises(EdgeqError) as caught:
        lower(model, SHAPE)
    assert method.refusal in caught.value.what


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS[1:])
@pytest.mark.parametrize(("method", "bits", "per_channel"), EXACT)
def test_and_is_on_every_other_network(
    method: Method, bits: int, per_channel: bool, name: str, tmp_path: Path, source: DataSource
) -> None:
    most_error = OF_SIGNS if (method.role, bits) == ("activations", 1) else MOST_ERROR
    hold(
        network(name, scheme_of(method, bits, per_channel=per_channel)),
        tmp_path,
        source,
        most_error,
    )


# -- random schemes on random networks -------------------------------------------------------------

bits = st.integers(2, 8)
rules = st.lists(
    st.builds(LayerRule, st.sampled_from(["0*", "*1*", "*"]), bits, bits), max_size=2
).map(tuple)
schemes = st.builds(
    Scheme,
    bits,
    bits,
    st.integers(4, 8),
    weights=st.sampled_from(["auto", "learned-clip", "lsq", "max-abs", "power-of-two"]),
    activations=st.sampled_from(
        ["auto", "learned-clip", "lsq", "pact", "power-of-two", "tracked", "min-max"]
    ),
    per_channel=st.booleans(),
    affine=st.booleans(),
    first_last=st.sampled_from([None, "inner"]),
    layers=rules,
)


def hold_random(model: nn.Module, scheme: Scheme, folder: Path) -> None:
    try:
        random_networks.hold(model, scheme, folder)
    except UsageError as refusal:
        # a rule for a layer that this network has not
        assume("no layer is called" not in refusal.what)
        # a scale a channel for a layer and its transpose
        assume("input axis of the other" not in refusal.what)
        assume("share one weight" not in refusal.what)
        raise


relaxed = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


@settings(max_examples=12, suppress_health_check=relaxed)
@given(random_networks.networks(), schemes)
def test_random_schemes_hold_on_random_networks(
    tmp_path: Path, model: nn.Module, scheme: Scheme
) -> None:
    hold_random(model, scheme, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=400, suppress_health_check=relaxed)
@given(random_networks.networks(), schemes)
def test_many_more_random_schemes_hold_on_random_networks(
    tmp_path: Path, model: nn.Module, scheme: Scheme
) -> None:
    hold_random(model, scheme, tmp_path)
