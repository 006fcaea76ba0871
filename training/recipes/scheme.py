"""A quantisation scheme.

Methods, widths, placement and the layers that differ, in the words people use (4W/8A).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from edgeq.errors import UnknownName, UsageError
from edgeq.network.checks import check_choice, check_flag, check_width, read_record
from edgeq.network.layer_rules import LayerRule
from edgeq.network.placement import FIRST_LAST, FirstLast, PlacementName
from edgeq.training.quantizers.catalogue import Role, find, methods

if TYPE_CHECKING:
    from collections.abc import Mapping

NormForm = Literal["integer", "float"]
AUTO = "auto"
WIDTHS: Mapping[Role, str] = {"weights": "weight_bits", "activations": "act_bits"}
"""The field of a scheme that holds the width of a method, by what the method is for."""
# None leaves each to what training starts from
_OPEN = ("normalize_weights", "per_channel", "affine")


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a network is quantised in training.

    Attributes:
        weight_bits: width of the weights of inner layers, 1 to 8.
        act_bits: width of the activations that inner layers read, 1 to 8, or 16.
        boundary_bits: width of everything else that the ``integer`` placement stores: input,
            residual branches, concatenation and pooling, and the weights of the first and last
            layer, of which none has more than 8; 2 to 8, or 16.
        placement: ``integer`` (an integer runtime can run all of it) or ``paper`` (the published
            quantisers only).
        normalize_weights: give weights in front of a BatchNorm zero mean and unit variance before
            they are quantised, as Ben-Yair et al. publish for training from scratch (Eq. 20). It
            changes what a trained network computes. None: only for a recipe that starts a network
            of the zoo at random.
        weights: the method of weights, a name of :mod:`edgeq.training.quantizers.catalogue`.
            ``auto`` follows the largest magnitude; for normalised weights it learns the bound.
        activations: the method of what inner layers read. All other stored tensors follow their
            range (``power-of-two`` applies to all). ``auto`` follows the range at 8 bits, and of
            tensors that can be negative. Below 8 bits it learns the scale of the others, from the
            one with the smallest rounding error on the first batch. Where weights are normalised it
            learns a bound that starts at 6.0, as published.
        per_channel: a weight scale for each output channel. None: wherever possible, but per tensor
            where weights are normalised or their scales powers of two, as published.
        affine: zero anywhere in the range of tensors that can be negative, instead of in the
            middle. None: yes, but no where weights are normalised, as published.
        pair_safe: enlarge weight scales until no pair of products leaves 16 bits, in which int8
            kernels on x86 without VNNI add them (:mod:`edgeq.qdq.ort_x86.saturation`). It changes
            no width and no range of an activation.
        first_last: the first and last layer: ``boundary`` gives them ``boundary_bits``, ``inner``
            treats them like any layer, ``float`` leaves them in float, as published. None:
            ``boundary`` in the ``integer`` placement, ``float`` in ``paper``.
        norms: LayerNorms in the ``integer`` placement: ``integer`` writes them in operators that
            integer kernels have, with 16 bits inside; ``float`` leaves them in float, between
            integers, which ONNX Runtime computes faster and TensorFlow Lite Micro can compute.
        layers: rules for single layers; a later one wins.
    """

    weight_bits: int = 8
    act_bits: int = 8
    boundary_bits: int = 8
    placement: PlacementName = "integer"
    normalize_weights: bool | None = None
    weights: str = AUTO
    activations: str = AUTO
    per_channel: bool | None = None
    affine: bool | None = None
    pair_safe: bool = True
    first_last: FirstLast | None = None
    norms: NormForm = "integer"
    layers: tuple[LayerRule, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("weight_bits", 1), ("act_bits", 1), ("boundary_bits", 2)):
            check_width(name, getattr(self, name), least, wide=name != "weight_bits")
        for name in (*_OPEN, "pair_safe"):
            if name not in _OPEN or getattr(self, name) is not None:
                check_flag(name, getattr(self, name))
        check_choice("placement", self.placement, PlacementName)
        if self.first_last is not None:
            check_choice("first_last", self.first_last, FirstLast)
        check_choice("norms", self.norms, NormForm)
        self._check_methods()

    def _check_methods(self) -> None:
        """Each method with the width that it has here, and under each rule."""
        own = {
            name: getattr(self, name)
            for name in ("weights", "weight_bits", "activations", "act_bits")
        }
        for changes, where in (
            ({}, ""),
            *((rule.changes(), f" of the layers {rule.match!r}") for rule in self.layers),
        ):
            here = own | changes
            check_method("weights", here["weights"], here["weight_bits"], where)
            check_method("activations", here["activations"], here["act_bits"], where)

    @property
    def name(self) -> str:
        """The short name, such as ``4W/8A``, with what is not as usual behind it."""
        methods = dict.fromkeys(
            method for method in (self.weights, self.activations) if method != AUTO
        )
        flags = [
            name.replace("_", "-") for name in ("per_channel", "affine") if getattr(self, name)
        ]
        ends = (
            [f"first-last-{self.first_last}"]
            if self.first_last not in (None, FIRST_LAST[self.placement])
            else []
        )
        ends += [] if self.norms == "integer" else ["norms-float"]
        rules = [f"{len(self.layers)} rule{'s' * (len(self.layers) > 1)}"] if self.layers else []
        return " ".join([f"{self.weight_bits}W/{self.act_bits}A", *methods, *flags, *ends, *rules])

    @property
    def least_bits(self) -> int:
        """The smallest width of any weight or activation of inner layers, rules included."""
        changed = [
            bits
            for rule in self.layers
            for bits in (rule.weight_bits, rule.act_bits)
            if bits is not None
        ]
        return min(self.weight_bits, self.act_bits, *changed)

    def settled(self, *, normalize_weights: bool) -> Scheme:
        """The scheme with its open fields settled, by whether weights are normalised.

        Args:
            normalize_weights: what holds where it does not say.
        """
        if self.normalize_weights is None:
            return replace(self, normalize_weights=normalize_weights).settled(
                normalize_weights=normalize_weights
            )
        published: dict[str, Any] = {name: False for name in _OPEN if getattr(self, name) is None}
        return replace(self, **published) if self.normalize_weights else self

    def under(self, changes: Mapping[str, Any]) -> Scheme:
        """What holds for layers that a rule changes this about."""
        own = {name: value for name, value in changes.items() if name != "keep_float"}
        return replace(self, layers=(), **own)

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: object) -> Scheme:
        """The inverse of :meth:`to_dict`.

        Raises:
            UsageError: it is no table, or a field is unknown, or out of range.
        """
        if isinstance(content, dict) and "layers" in content:
            content = {**content, "layers": _rules(content["layers"])}
        return read_record(cls, content, "scheme")


def _rules(content: object) -> tuple[LayerRule, ...]:
    if not isinstance(content, list | tuple):
        raise UsageError(
            f"layers is {content!r}", hint="give each rule as a table [[scheme.layers]]"
        )
    return tuple(LayerRule.from_dict(rule) for rule in content)


def check_method(role: Role, name: str, bits: int, where: str = "") -> None:
    """Whether a method can have a width in a role.

    Raises:
        UsageError: it cannot; says in which role it could, or at which widths.
    """
    if name == AUTO:
        if bits < 2:
            raise UsageError(f"{WIDTHS[role]}{where} is {bits}", hint=_binary(role))
        return
    other: Role = "activations" if role == "weights" else "weights"
    names = [method.name for method in methods(role)]
    if name not in names and any(method.name == name for method in methods(other)):
        raise UsageError(
            f"{name!r} is a method for {other}, and not for {role}{where}",
            hint=f"choose one of {', '.join([AUTO, *names])}",
        )
    if name not in names:
        raise UnknownName(f"method for {role}{where}", name, [AUTO, *names])
    find(role, name).check(bits)


def _binary(role: Role) -> str:
    found = [method.name for method in methods(role) if 1 in method.widths]
    return f"choose 2 to 8 bits{', or a method with one bit: ' + ', '.join(found) if found else ''}"
