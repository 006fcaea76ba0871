"""The exactness contract for networks of anybody's, family by family.

Torch, ONNX Runtime, and TFLite's reference kernels.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.contract.test_foreign import random_images
from tests.support.checks.exactness import check_rows_one_and_two, roughen
from tests.support.models.blocks import (
    Bottleneck,
    Ghost,
    Inverted,
    LayerScale,
    PreActivated,
    RepVgg,
    Res2,
    Shuffle,
    Spelled,
    SqueezeExcite,
    Twice,
    conv_bn,
)
from tests.support.models.families import FAMILIES, PARTLY_FLOAT, plain
from torch import nn
from torch.nn import functional as F

from edgeq.deploy.evaluation.verify import verify
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.exporters.torch.lower import lower
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx_ir as ir
    from torch import fx

SIZE = 16
SHAPE = (3, SIZE, SIZE)
MOST_FLIPS = 1e-3  # a share of all integers; a tie of a table is met by every pixel of that value
# between pixels lie sixteenths of steps, so that one value in sixteen is a tie
MOST_FLIPS_OF = {"interpolating": 5e-3}
MOST_ERROR = 0.25  # LSB
# of 16 bits, behind the root of a small variance
MOST_ERROR_OF = {"convnext": 2.0}


def network(name: str, scheme: Scheme) -> fx.GraphModule:
    torch.manual_seed(0)
    return roughen(
        quantize((FAMILIES | PARTLY_FLOAT)[name](), scheme, torch.zeros(1, *SHAPE)), SHAPE
    )


def lowered_as_torch_computes(name: str, scheme: Scheme, folder: Path) -> ir.Model:
    """The ONNX model of a family, which gives torch's integers in ONNX Runtime."""
    model = network(name, scheme)
    images = np.random.default_rng(1).normal(0, 1, (2, *SHAPE)).astype(np.float32)
    verdict = check_rows_one_and_two(model, images, folder)
    assert verdict.error < MOST_ERROR_OF.get(name, MOST_ERROR)
    assert verdict.flips <= MOST_FLIPS_OF.get(name, MOST_FLIPS) * verdict.compared
    return lower(model, SHAPE)


@pytest.mark.parametrize(
    ("name", "bits"), [*product(FAMILIES, (4, 8)), *((name, 8) for name in PARTLY_FLOAT)]
)
def test_a_family_is_exact_on_both_references(name: str, bits: int, tmp_path: Path) -> None:
    lowered = lowered_as_torch_computes(name, Scheme(bits, bits), tmp_path)
    exported = tflite.export(lowered, ExportOptions())
    assert exported.parity.different == ()
    assert exported.in_float is None
    verify(lowered, exported, random_images(SIZE), limit=2).require()


@pytest.mark.parametrize("bits", [4])
@pytest.mark.parametrize("name", PARTLY_FLOAT)
def test_what_stays_in_float_is_named_and_the_rest_is_exact(
    name: str, bits: int, tmp_path: Path
) -> None:
    lowered = lowered_as_torch_computes(name, Scheme(bits, bits, norms="float"), tmp_path)
    with pytest.raises(ArtefactError, match=r"(?s)LayerNormalization.*--allow-float"):
        tflite.export(lowered, ExportOptions())
    exported = tflite.export(lowered, ExportOptions(allow_float=True))
    assert exported.parity.different == ()
    assert exported.in_float is not None
    assert all(
        operator.startswith("LayerNormalization") for operator in exported.in_float.operators
    )
    verify(lowered, exported, random_images(SIZE), limit=2).require()


# -- random networks -------------------------------------------------------------------------------

ACTS = (
    nn.ReLU,
    nn.ReLU6,
    nn.Hardswish,
    nn.SiLU,
    nn.GELU,
    nn.LeakyReLU,
    nn.ELU,
    nn.Tanh,
    nn.Mish,
    nn.PReLU,
    nn.Hardtanh,
    nn.Softsign,
)
GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh)
SPELLINGS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    lambda x: x * torch.sigmoid(x),
    lambda x: x * F.relu6(x + 3) / 6,
    lambda x: F.relu(x) - 0.5 * x,
    lambda x: torch.clamp(x * 0.7, -1.0, 2.0),
    lambda x: x.abs().neg() + x,
)
PLAIN = (Bottleneck, PreActivated, RepVgg, Ghost, Shuffle, Res2, Twice, LayerScale)

acts = st.sampled_from(ACTS)
blocks = st.one_of(
    st.builds(lambda block: block(8), st.sampled_from(PLAIN)),
    st.builds(lambda kernel, act: conv_bn(8, 8, kernel, act=act), st.sampled_from([1, 3]), acts),
    st.builds(lambda act, gate: Inverted(8, act, gate), acts, st.sampled_from(GATES)),
    st.builds(lambda gate: SqueezeExcite(8, gate), st.sampled_from(GATES)),
    st.builds(lambda spelling: Spelled(8, spelling), st.sampled_from(SPELLINGS)),
    st.builds(lambda: nn.BatchNorm2d(8)),
    st.builds(lambda act: act(), acts),
    st.builds(lambda: nn.AvgPool2d(2, 1)),
)
bits = st.integers(2, 8)
schemes = st.builds(Scheme, bits, bits, per_channel=st.booleans(), affine=st.booleans())
relaxed = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def hold(modules: list[nn.Module], scheme: Scheme, seed: int, folder: Path) -> None:
    torch.manual_seed(seed)
    model = roughen(quantize(plain(*modules), scheme, torch.zeros(1, *SHAPE)), SHAPE, seed=seed)
    images = np.random.default_rng(seed).normal(0, 1, (2, *SHAPE)).astype(np.float32)
    verdict = check_rows_one_and_two(model, images, folder)
    # a dead tensor's step is so small that float error spans its grid: nothing was proven
    assume(verdict.error < MOST_ERROR)
    try:
        exported = tflite.export(lower(model, SHAPE), ExportOptions())
    except ArtefactError as refusal:
        # a dead branch, whose sum no kernel can hold
        assume("kernels would overflow" not in refusal.what)
        raise
    assert exported.parity.different == ()
    assert exported.in_float is None


@settings(max_examples=15, suppress_health_check=relaxed)
@given(st.lists(blocks, min_size=1, max_size=4), schemes, st.integers(0, 2**31))
def test_random_networks_hold(
    tmp_path: Path, modules: list[nn.Module], scheme: Scheme, seed: int
) -> None:
    hold(modules, scheme, seed, tmp_path)


@pytest.mark.slow
@settings(max_examples=500, suppress_health_check=relaxed)
@given(st.lists(blocks, min_size=1, max_size=6), schemes, st.integers(0, 2**31))
def test_many_more_random_networks_hold(
    tmp_path: Path, modules: list[nn.Module], scheme: Scheme, seed: int
) -> None:
    hold(modules, scheme, seed, tmp_path)
