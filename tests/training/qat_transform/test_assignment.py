"""Which quantiser stands where.

Methods by role, fallbacks at the ends, rules, ties, and what is said where they contradict.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from edgeq.errors import UsageError
from edgeq.network.layer_rules import LayerRule
from edgeq.training.layers import QuantLayer
from edgeq.training.qat_transform import ASSIGNMENT, quantize
from edgeq.training.quantizers.fitted import Fitted
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.quantizers.lsq import Lsq
from edgeq.training.quantizers.max_abs import MaxAbs
from edgeq.training.quantizers.power_of_two import PowerOfTwo
from edgeq.training.quantizers.tracked_clip import TrackedClip
from edgeq.training.quantizers.tracked_range import TrackedRange
from edgeq.training.recipes.scheme import Scheme


class Net(nn.Module):
    """A stem, two layers that read one tensor, a linear one that reads their sum, the last one."""

    def __init__(self, *, tied: bool = False, groups: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 4, 3, padding=1, groups=groups, bias=False)
        self.right = nn.ConvTranspose2d(4, 4, 3, padding=1, groups=groups, bias=False)
        if tied:
            self.right.weight = self.left.weight
        self.after = nn.Conv2d(4, 4, 1)
        self.last = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.stem(x)))
        y = self.after(self.left(x) + self.right(x))
        out: Tensor = self.last(nn.functional.adaptive_avg_pool2d(torch.relu(y), 1).flatten(1))
        return out


def quantized(scheme: Scheme, **options: Any) -> fx.GraphModule:
    return quantize(Net(**options), scheme)


def weight(model: nn.Module, path: str) -> Any:
    layer = model.get_submodule(path)
    assert isinstance(layer, QuantLayer)
    return layer.quantizer.clip


def grid(model: nn.Module, name: str) -> Any:
    return model.get_submodule(f"quantizers.{name}")


class TestMethods:
    def test_auto_follows_what_it_meets_and_learns_only_few_levels(self) -> None:
        model = quantized(Scheme(4, 4))
        assert {
            type(weight(model, path)) for path in ("stem", "left", "right", "after", "last")
        } == {MaxAbs}
        assert type(grid(model, "relu")) is Fitted
        assert {type(grid(model, name)) for name in ("x", "add")} == {TrackedRange}
        assert type(grid(quantized(Scheme(8, 8)), "relu")) is TrackedClip
        assert [weight(model, path).axis for path in ("stem", "left", "right", "last")] == [
            0,
            0,
            1,
            0,
        ]
        assert weight(quantized(Scheme(4, 4), tied=True), "left").axis is None, (
            "the output channels of one are the inputs of the other"
        )
        assert weight(quantized(Scheme(4, 4), groups=2), "right").axis is None, (
            "they lie along two axes"
        )

    def test_published_it_learns_what_is_normalised_or_not_negative_and_follows_the_rest(
        self,
    ) -> None:
        model = quantized(Scheme(4, 4, normalize_weights=True))
        assert {weight(model, path).axis for path in ("stem", "left", "last")} == {None}
        assert [type(weight(model, path)) for path in ("stem", "left", "last")] == [
            LearnedClip,
            MaxAbs,
            MaxAbs,
        ]
        assert type(grid(model, "relu")) is LearnedClip
        assert type(grid(model, "add")) is TrackedClip, "signed, though an inner layer reads it"

    def test_a_named_method_is_that_of_all_weights_and_of_what_inner_layers_read(self) -> None:
        model = quantized(Scheme(4, 4, weights="lsq", activations="lsq", affine=False))
        assert {
            type(weight(model, path)) for path in ("stem", "left", "right", "after", "last")
        } == {Lsq}
        assert [type(grid(model, name)) for name in ("relu", "add", "x", "last")] == [
            Lsq,
            Lsq,
            TrackedClip,
            TrackedClip,
        ]
        assert grid(model, "add").signed

    def test_what_a_method_cannot_be_follows_its_range(self) -> None:
        model = quantized(Scheme(1, 4, weights="xnor", activations="pact", affine=False))
        assert type(weight(model, "last")) is MaxAbs, "8 bits, which a binary method has not"
        assert type(grid(model, "add")) is TrackedClip, "signed, which PACT is not"

    def test_affine_ranges_are_those_of_what_can_be_negative(self) -> None:
        model = quantized(Scheme(4, 4, affine=True, normalize_weights=True))
        assert [type(grid(model, name)) for name in ("x", "add", "relu")] == [
            TrackedRange,
            TrackedRange,
            LearnedClip,
        ]

    def test_powers_of_two_are_everywhere(self) -> None:
        model = quantized(Scheme(4, 4, weights="power-of-two", activations="power-of-two"))
        assignment = model.meta[ASSIGNMENT]
        assert {type(grid(model, name)) for name in assignment.placement.grids} == {PowerOfTwo}

    def test_published_normalisation_belongs_to_the_method(self) -> None:
        stem = quantized(Scheme(4, 4, weights="lsq")).get_submodule("stem")
        assert isinstance(stem, QuantLayer)
        assert not stem.quantizer.normalize


class TestRules:
    def test_they_give_single_layers_their_own(self) -> None:
        rules = (LayerRule("left", weight_bits=2, weights="lsq"), LayerRule("after", act_bits=6))
        model = quantized(Scheme(4, 4, layers=rules))
        assert (weight(model, "left").target_bits, type(weight(model, "left"))) == (2, Lsq)
        assert (weight(model, "right").target_bits, type(weight(model, "right"))) == (4, MaxAbs)
        assert grid(model, "add").target_bits == 6

    def test_two_methods_for_one_tensor_are_refused(self) -> None:
        with pytest.raises(UsageError, match="read one tensor with different methods") as caught:
            quantized(Scheme(4, 4, layers=(LayerRule("left", activations="lsq"),)))
        assert "left (lsq)" in caught.value.what

    def test_but_not_where_each_has_a_grid_of_its_own(self) -> None:
        model = quantized(Scheme(4, 4, layers=(LayerRule("left", activations="lsq", act_bits=6),)))
        assert type(grid(model, "relu")) is Lsq
        assert type(grid(model, "relu_narrowed")) is Fitted

    def test_a_rule_for_a_layer_in_float_needs_its_bits(self) -> None:
        with pytest.raises(UsageError, match="last, which stays in float"):
            quantized(Scheme(4, 4, placement="paper", layers=(LayerRule("last", act_bits=4),)))
        model = quantized(
            Scheme(4, 4, placement="paper", layers=(LayerRule("last", weight_bits=4),))
        )
        assert weight(model, "last").target_bits == 4

    def test_a_method_named_for_an_end_has_to_have_its_width(self) -> None:
        with pytest.raises(UsageError, match="xnor has no 8-bit weights"):
            quantized(
                Scheme(1, 8, weights="xnor-centered", layers=(LayerRule("last", weights="xnor"),))
            )


class TestScales:
    def test_each_kind_of_layer_has_them_along_its_output_channels(self) -> None:
        model = quantized(Scheme(4, 4, per_channel=True))
        assert [weight(model, path).axis for path in ("stem", "left", "right", "last")] == [
            0,
            0,
            1,
            0,
        ]

    def test_a_layer_and_its_transpose_cannot(self) -> None:
        with pytest.raises(UsageError, match="on the input axis of the other"):
            quantized(Scheme(4, 4, per_channel=True), tied=True)
        rule = LayerRule("*ht", per_channel=False), LayerRule("*ft", per_channel=False)
        assert (
            weight(quantized(Scheme(4, 4, per_channel=True, layers=rule), tied=True), "right").axis
            is None
        )

    def test_a_grouped_transposed_layer_cannot(self) -> None:
        with pytest.raises(UsageError, match="lie along two axes"):
            quantized(Scheme(4, 4, per_channel=True), groups=2)

    @pytest.mark.parametrize(
        "changes", [{"weight_bits": 2}, {"weights": "lsq"}, {"per_channel": True}]
    )
    def test_layers_of_one_weight_ask_for_the_same(self, changes: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="left and right share one weight"):
            quantized(Scheme(4, 4, layers=(LayerRule("left", **changes),)), tied=True)
