"""What every method has to hold, whatever it is.

Integers times step is what evaluation computes, and copies are copies.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.checks.quantizers import activation, built, every_kind, name_of, weight

from edgeq.errors import UnknownName, UsageError
from edgeq.training.quantizers.catalogue import (
    METHODS,
    build_activation,
    build_weight,
    find,
    methods,
)
from edgeq.training.quantizers.parts.protocol import GridQuantizer, Quantizer

if TYPE_CHECKING:
    from edgeq.training.quantizers.catalogue import Method

KINDS = list(every_kind())
values = hnp.arrays(np.float32, st.integers(1, 64), elements=st.floats(-4096, 4096, width=32))
Kind = tuple["Method", int, int | None]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=name_of)


@cache
def trained(method: Method, bits: int, signed: bool) -> Any:
    return built(method, bits, signed=signed)


def tensor_for(method: Method) -> torch.Tensor:
    return weight(2) if method.role == "weights" else activation(2)


@each_kind
def test_evaluation_computes_the_integers_times_the_step(kind: Kind) -> None:
    method, bits, axis = kind
    quantizer, x = built(method, bits, axis=axis), tensor_for(method)
    assert isinstance(quantizer, Quantizer)
    assert (quantizer.target_bits, quantizer.axis) == (bits, axis)
    encoded = quantizer.encode(x)
    assert torch.equal(encoded.value, quantizer(x))
    assert torch.equal(encoded.integers, encoded.integers.round())
    assert encoded.low <= encoded.integers.min()
    assert encoded.integers.max() <= encoded.high
    assert encoded.scale.shape == (() if axis is None else (6,))
    assert encoded.scale.dtype == torch.float32
    assert (encoded.scale > 0).all()


@each_kind
def test_in_bfloat16_it_is_the_same_rounded(kind: Kind) -> None:
    method, bits, axis = kind
    quantizer, x = built(method, bits, axis=axis), tensor_for(method).bfloat16()
    found = quantizer(x)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, quantizer.encode(x).value.bfloat16())


@each_kind
def test_a_copy_is_equal_and_independent(kind: Kind) -> None:
    method, bits, axis = kind
    quantizer, x = built(method, bits, axis=axis), tensor_for(method)
    twin = copy.deepcopy(quantizer)
    assert torch.equal(twin(x), quantizer(x))
    before = quantizer(x)
    for parameter in twin.parameters():
        parameter.data.mul_(3).add_(1)
    assert torch.equal(quantizer(x), before)


@each_kind
def test_a_state_dict_holds_all_that_training_found(kind: Kind) -> None:
    method, bits, axis = kind
    quantizer, x = built(method, bits, axis=axis), tensor_for(method)
    for parameter in quantizer.parameters():
        parameter.data.mul_(1.25)
    fresh: Any
    if method.role == "weights":
        fresh = build_weight(
            method.name, bits, weight(9), channels_axis=axis, normalized=method.normalized
        )
    else:
        fresh = build_activation(method.name, bits, signed=method.signs[-1])
    fresh.load_state_dict(quantizer.state_dict())
    fresh.train()(x)
    quantizer.train()(x)
    assert torch.equal(fresh.eval()(x), quantizer.eval()(x))


@each_kind
def test_zeros_are_zeros_but_to_a_sign(kind: Kind) -> None:
    method, bits, axis = kind
    quantizer, zeros = built(method, bits, axis=axis), torch.zeros_like(tensor_for(method))
    binary = method.role == "weights" and bits == 1
    assert (quantizer.encode(zeros).integers == (1 if binary else 0)).all()
    assert torch.isfinite(quantizer.train()(zeros)).all()


@each_kind
def test_huge_values_end_at_the_last_level(kind: Kind) -> None:
    method, bits, axis = kind
    quantizer = built(method, bits, axis=axis)
    x = torch.full_like(tensor_for(method), 3e37)
    encoded = quantizer.encode(x)
    assert (encoded.integers == encoded.high).all()
    assert ((-encoded.integers if encoded.low < 0 else 0) >= quantizer.encode(-x).integers).all()


@each_kind
def test_what_is_not_a_number_is_not_hidden(kind: Kind) -> None:
    method, bits, axis = kind
    quantizer = built(method, bits, axis=axis)
    x = tensor_for(method)
    x[0, 0] = torch.nan
    for mode in (True, False):
        assert quantizer.train(mode)(x).isnan().any()


@each_kind
def test_gradients_are_finite_and_reach_the_tensor(kind: Kind) -> None:
    method, bits, axis = kind
    x = tensor_for(method) * 4  # reaches beyond every bound
    quantizer, x = built(method, bits, axis=axis).train(), x.requires_grad_()
    (quantizer(x) * torch.linspace(-1, 1, x.numel()).reshape(x.shape)).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.any()
    for name, parameter in quantizer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.shape == parameter.shape
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any(), name


@each_kind
def test_without_rounding_the_tensor_is_only_clipped(kind: Kind) -> None:
    """Everywhere it is either the value itself or the end of a range.

    Signs of activations are so up to their amplitude.
    """
    method, bits, axis = kind
    quantizer, x = built(method, bits, axis=axis), tensor_for(method)
    quantizer.rounding = False
    y = quantizer(x) / getattr(quantizer, "amplitude", 1.0)
    changed = (y - x).abs() > 1e-6 * x.abs()
    ends = y[changed].abs()
    if axis is None:
        assert len(ends.unique()) <= (3 if method.name == "min-max" else 2)
    assert (y[changed].abs() <= x[changed].abs()).all()
    assert (~changed).any()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("method", methods("activations"), ids=lambda method: method.name)
@settings(max_examples=30)
@given(x=values)
def test_an_exact_grid_is_that_of_quantize_linear(
    method: Method, signed: bool, x: np.ndarray
) -> None:
    if signed not in method.signs:
        return
    for bits in method.widths:
        quantizer = trained(method, bits, signed)
        assert isinstance(quantizer, GridQuantizer)
        if bits not in method.exact:
            with pytest.raises(UsageError, match=method.refusal):
                quantizer.quant_params()
            continue
        params = quantizer.quant_params()
        integers = params.quantize(x)
        assert params.dtype == ("uint8" if bits <= 8 else "int16")
        encoded = quantizer.encode(torch.from_numpy(x)).integers.detach().numpy()
        assert np.array_equal(integers.astype(int) - int(params.zero_point), encoded)
        assert np.array_equal(
            params.dequantize(integers), quantizer(torch.from_numpy(x)).detach().numpy()
        )


class TestEntries:
    def test_names_are_told_apart(self) -> None:
        names = [(method.role, method.name) for method in METHODS]
        assert len(names) == len(set(names))

    def test_a_refusal_has_a_reason_and_only_where_it_is_needed(self) -> None:
        for method in METHODS:
            assert set(method.exact) <= set(method.widths)
            assert bool(method.refusal) == (set(method.exact) != set(method.widths)), method.name
            assert method.verdict(method.widths[-1]).startswith(("exact", "refused: ")), method.name

    def test_verdicts(self) -> None:
        assert find("weights", "apot").verdict(6) == "exact"
        assert find("weights", "apot").verdict(7).startswith("refused: ")

    def test_widths_that_do_not_anneal_are_fixed(self) -> None:
        for method in METHODS:
            quantizer = built(method, method.widths[0])
            x = tensor_for(method)
            before = quantizer(x)
            quantizer.bits = 12
            assert torch.equal(quantizer(x), before) != method.anneals, method.name


class TestErrors:
    def test_an_unknown_name_gets_the_nearest(self) -> None:
        with pytest.raises(UnknownName, match="did you mean 'lsq'"):
            build_weight("lsqq", 4, weight(), channels_axis=None, normalized=False)
        with pytest.raises(UnknownName, match="no method for activations"):
            build_activation("binary-connect", 1, signed=True)

    def test_widths_that_a_method_has_not(self) -> None:
        with pytest.raises(UsageError, match="choose 1 bits"):
            build_weight("xnor", 4, weight(), channels_axis=0, normalized=False)
        with pytest.raises(UsageError, match="choose 2 to 8 bits"):
            build_activation("lsq", 9, signed=True)

    def test_one_step_a_tensor(self) -> None:
        with pytest.raises(UsageError, match="per tensor"):
            build_weight("apot", 4, weight(), channels_axis=0, normalized=True)

    def test_a_sign_that_a_method_does_not_take(self) -> None:
        with pytest.raises(UsageError, match="that can be negative"):
            build_activation("pact", 4, signed=True)


def test_the_catalogue_needs_no_torch() -> None:
    code = (
        "import sys, edgeq.training.quantizers.catalogue as c; assert len(c.METHODS) > 10; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
