"""Which quantiser stands where.

A scheme, its rules and the placement, turned into one quantiser for each weight and grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError
from edgeq.network.layer_rules import resolve
from edgeq.network.placement import FIRST_LAST, LayerWidths, inside_operators, place
from edgeq.training.layers import WeightQuantizer, output_axis
from edgeq.training.quantizers.catalogue import build_activation, build_weight, find
from edgeq.training.recipes.scheme import AUTO, check_method

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import nn

    from edgeq.network.placement import GridSpec, Op, Placement
    from edgeq.training.quantizers.parts.protocol import GridQuantizer
    from edgeq.training.recipes.scheme import Scheme

# the second for weights of a trained network, and those that no paper quantises
_LEARNED, _OBSERVED = "learned-clip", "max-abs"
_FITTED, _TRACKED, _AFFINE = "fitted", "tracked", "min-max"
_BYTE = 8
_ENOUGH_BITS = 8  # from here on a range that clips nothing has levels to spare
# what a machine asks for, and not only a paper: it is of no use beside other scales
_EVERYWHERE = frozenset({"power-of-two"})


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a scheme means for one network.

    Attributes:
        placement: where quantisers stand, with widths.
        scheme: what holds for the network.
        schemes: what holds for each quantised layer, rules applied.
        paths: module path of each layer.
        normed: the layers that have a BatchNorm behind them, the placement ``paper`` also through
            other layers that are one operator with them.
    """

    placement: Placement
    scheme: Scheme
    schemes: Mapping[str, Scheme]
    paths: Mapping[str, str]
    normed: frozenset[str]

    def weight_quantizer(self, name: str, modules: Sequence[nn.Module]) -> WeightQuantizer:
        """The quantiser of a layer's weights.

        Args:
            name: the layer's tensor.
            modules: the Conv2d, ConvTranspose2d or Linear, and all others that have its weight.

        Raises:
            UsageError: its output channels cannot have a scale each, and are asked to.
        """
        method = self.weight_method(name)
        normalize = self._may_normalize(name) and find("weights", method).normalized
        axis = self._channels_axis(name, modules)
        weight: Any = modules[0].weight
        quantizer = build_weight(
            method, self.placement.layers[name], weight, channels_axis=axis, normalized=normalize
        )
        return WeightQuantizer(quantizer, normalize=normalize)

    def activation_quantizer(self, spec: GridSpec) -> GridQuantizer:
        """The quantiser of one grid.

        Raises:
            UsageError: the layers that read it have rules for different methods.
        """
        signed = spec.signed or spec.bits > _BYTE  # kernels of 16 bits know no other zero point
        return build_activation(self.activation_method(spec), spec.bits, signed=signed)

    def check_tied(self, first: str, second: str, modules: tuple[nn.Module, nn.Module]) -> None:
        """Whether two layers of one weight ask for the same integers.

        Args:
            first: a layer's tensor.
            second: the other's.
            modules: both layers.

        Raises:
            UsageError: they do not.
        """
        for what, one, other in (
            ("weight_bits", self.placement.layers[first], self.placement.layers[second]),
            *(
                (field, getattr(self.schemes[first], field), getattr(self.schemes[second], field))
                for field in ("weights", "per_channel")
            ),
        ):
            if one != other:
                raise UsageError(
                    f"{self.paths[first]} and {self.paths[second]} share one weight, and "
                    f"have {what} {one} and {other}",
                    hint="give both the same, with one rule that matches both",
                )
        if self.schemes[first].per_channel and output_axis(modules[0]) != output_axis(modules[1]):
            raise UsageError(
                f"{self.paths[second]} has the weight of {self.paths[first]} transposed: a "
                "scale for each output channel of the one "
                "would lie on the input axis of the other, which no integer kernel computes",
                hint="leave out per_channel, or add a rule with per_channel = false for both",
            )

    def weight_method(self, name: str) -> str:
        """What quantises a layer's weights.

        First and last layers that have a width their method lacks follow their range.
        """
        method, bits = self.schemes[name].weights, self.placement.layers[name]
        if method == AUTO:
            return _LEARNED if self._may_normalize(name) else _OBSERVED
        outer = name in self.placement.ends and bits not in find("weights", method).widths
        return _OBSERVED if outer else method

    def activation_method(self, spec: GridSpec) -> str:
        """What quantises a grid.

        One that no inner layer reads, or that the method of those that do cannot be, follows its
        range.

        Raises:
            UsageError: the layers that read it have rules for different methods.
        """
        affine = (
            not self.scheme.normalize_weights if self.scheme.affine is None else self.scheme.affine
        )
        observed = _AFFINE if affine and spec.signed and spec.bits <= _BYTE else _TRACKED
        if (
            self.scheme.activations in _EVERYWHERE
            and spec.bits in find("activations", self.scheme.activations).widths
        ):
            observed = self.scheme.activations
        if not spec.inner:
            return observed
        asked = {self.schemes[name].activations: name for name in spec.readers}
        if len(asked) > 1:
            layers = " and ".join(
                f"{self.paths[name]} ({method})" for method, name in asked.items()
            )
            raise UsageError(
                f"{layers} read one tensor with different methods",
                hint="give the layers that read it the same method",
            )
        if spec.bits > _BYTE and asked.keys() <= {AUTO}:
            return observed
        method = next(iter(asked), AUTO if self.scheme.activations == AUTO else observed)
        if method == AUTO and not spec.signed:
            from_data = observed if spec.bits >= _ENOUGH_BITS else _FITTED
            return _LEARNED if self.scheme.normalize_weights else from_data
        if method == AUTO:
            return observed
        found = find("activations", method)
        return method if spec.signed in found.signs and spec.bits in found.widths else observed

    def _may_normalize(self, name: str) -> bool:
        return bool(self.schemes[name].normalize_weights) and name in self.normed

    def _channels_axis(self, name: str, modules: Sequence[nn.Module]) -> int | None:
        """The axis that has a scale for each of its channels; None for one scale."""
        asked, axes = self.schemes[name].per_channel, {output_axis(module) for module in modules}
        if asked is None:
            method = find("weights", self.weight_method(name))
            able = (
                method.per_channel
                and method.name not in _EVERYWHERE
                and not self.scheme.normalize_weights
            )
            return axes.pop() if able and len(axes) == 1 else None
        axis = output_axis(modules[0])
        if asked and axis is None:
            raise UsageError(
                f"the output channels of {self.paths[name]} lie along two axes of its "
                "weight, so that no format has a scale for each",
                hint=f'leave out per_channel, or add a rule with match = "{self.paths[name]}" '
                "and per_channel = false",
            )
        return axis if asked else None


def assign(
    ops: Sequence[Op], paths: Mapping[str, str], normed: Iterable[str], scheme: Scheme
) -> Assignment:
    """What a scheme means for a network.

    Args:
        ops: the network in the words of the placement rules.
        paths: module path of each layer, by the tensor it makes.
        normed: the layers that have a BatchNorm behind them.
        scheme: the scheme.

    Raises:
        UsageError: a rule matches no layer, or one that stays in float.
    """
    changes = resolve(scheme.layers, paths.values())
    overrides = {
        name: LayerWidths.of(changes[path]) for name, path in paths.items() if path in changes
    }
    placement = place(
        ops,
        placement=scheme.placement,
        weight_bits=scheme.weight_bits,
        act_bits=scheme.act_bits,
        boundary_bits=scheme.boundary_bits,
        first_last=scheme.first_last,
        overrides=overrides,
    )
    for name in overrides.keys() - placement.layers.keys():
        if overrides[name].is_float:
            continue
        raise UsageError(
            f"a rule matches {paths[name]}, which stays in float as the first or last layer",
            hint="give its weight_bits there too, or choose another first_last",
        )
    schemes = {name: scheme.under(changes.get(paths[name], {})) for name in placement.layers}
    behind = set(normed)
    if scheme.placement == "paper":
        inside = inside_operators(ops)
        behind |= {name for name in inside if _end(name, inside) in behind}
    found = Assignment(placement, scheme, schemes, paths, frozenset(behind))
    _check_ends(found)
    return found


def _end(name: str, inside: Mapping[str, str]) -> str:
    """The last layer of the operator that a layer is a part of."""
    while name in inside:
        name = inside[name]
    return name


def _check_ends(found: Assignment) -> None:
    """Check a method that only the first or last layer names against the layer's width."""
    usual = found.scheme.first_last or FIRST_LAST[found.scheme.placement]
    for name in found.placement.ends & found.schemes.keys():
        method = found.schemes[name].weights
        if usual != "boundary" or method != found.scheme.weights:
            check_method(
                "weights", method, found.placement.layers[name], f" of {found.paths[name]}"
            )
