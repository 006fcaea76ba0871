"""How a float network is quantised after training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeq.calibration.checked_plugins import CheckedMethod, CheckedObserver
from edgeq.calibration.method_options import configured
from edgeq.calibration.methods import METHODS
from edgeq.calibration.observers import OBSERVERS
from edgeq.calibration.weight_methods import WEIGHT_METHODS
from edgeq.errors import UsageError
from edgeq.network.checks import check_count, check_width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeq.calibration.methods import Method
    from edgeq.calibration.observers import RangeObserver
    from edgeq.calibration.weight_methods import WeightQuantizer
    from edgeq.network.layer_rules import LayerRule

_BY_WIDTH: Any = None  # what a field is before the width of the weights has chosen it
_WHOLE_BYTES: Mapping[str, Any] = {
    "observer": "minmax",
    "weight_method": "symmetric",
    "methods": (),
    "method_samples": 512,
}
_FEW_BITS: Mapping[str, Any] = {
    "observer": "mse",
    "weight_method": "mse",
    "methods": ("gptq", "bias-correction"),
    "method_samples": 128,
    "depthwise_bits": 8,
}
CHOOSING = ("observer", "weight_method", "methods")
"""The fields of which none is said where the width of the weights chooses them."""


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """The choices of a calibration.

    With weights of fewer than 8 bits, rounding to nearest costs accuracy. Where none of
    ``observer``, ``weight_method`` and ``methods`` is said, they are then ``mse``, ``mse`` and
    ``gptq`` with ``bias-correction``, on 128 samples, which win most of it back, and depthwise
    kernels keep 8 bits. Else they are ``minmax``, ``symmetric`` and none, and methods keep 512
    samples. ``methods=()`` says that there are none. A config that was made has all of them:
    :func:`dataclasses.replace` keeps them.

    Attributes:
        observer: how ranges are found: a name of ``edgeq.observers``, with settings behind a colon
            (``percentile:percent=99.9``), or what makes an observer.
        weight_method: how weights become integers: a name of ``edgeq.weight_methods``.
        weight_bits: width of inner layers' weights, 2 to 8.
        act_bits: width of what inner layers read, 2 to 8, or 16.
        boundary_bits: width of everything else that is stored, 2 to 8, or 16; the weights of the
            first and last layer have no more than 8.
        per_channel: one weight scale for each output channel, where the method has that, or one for
            each layer.
        pair_safe: whether the scales of symmetric weights grow, where they have to, until no pair
            of products can saturate on x86 without VNNI.
        layers: what is different for some layers, by the names of their nodes; a later rule wins.
        methods: names of ``edgeq.ptq_methods``, with settings behind a colon
            (``adaround:steps=2000``), in the order in which they are applied.
        method_samples: how many calibration samples such methods keep in memory, at most.
        depthwise_bits: width of the weights of inner depthwise layers, 2 to 8, where no rule says
            one; None for ``weight_bits``. They are few, and have few inputs to round against.

    Raises:
        UsageError: a width out of range.
        UnknownName: nothing is registered under a name.
    """

    observer: str | Callable[[], RangeObserver] = _BY_WIDTH
    weight_method: str = _BY_WIDTH
    weight_bits: int = 8
    act_bits: int = 8
    boundary_bits: int = 8
    per_channel: bool = True
    pair_safe: bool = True
    layers: tuple[LayerRule, ...] = ()
    methods: tuple[str, ...] = _BY_WIDTH
    method_samples: int = _BY_WIDTH
    depthwise_bits: int | None = None

    def __post_init__(self) -> None:
        for name in ("weight_bits", "act_bits", "boundary_bits"):
            check_width(name, getattr(self, name), 2, wide=name != "weight_bits")
        few = self.weight_bits < 8 and all(getattr(self, name) is None for name in CHOOSING)
        for name, value in (_FEW_BITS if few else _WHOLE_BYTES).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.depthwise_bits is not None:
            check_width("depthwise_bits", self.depthwise_bits, 2, wide=False)
        if isinstance(self.methods, str):
            raise UsageError(
                f"methods is the text {self.methods!r}, and a sequence of names is needed",
                hint=f"write methods=({self.methods!r},)",
            )
        check_count("method_samples", self.method_samples, 1)
        for rule in self.layers:
            _check_rule(rule)
        self.observer_factory()
        self.weight_quantizer()
        self.made_methods()

    def observer_factory(self) -> Callable[[], CheckedObserver]:
        """What makes the observer of one tensor, its answers checked."""
        given = self.observer
        made = configured(given, OBSERVERS) if isinstance(given, str) else given
        return partial(CheckedObserver, self.found_by, made)

    def weight_quantizer(self, name: str | None = None) -> WeightQuantizer:
        """A weight method, its answers checked; by default that of all layers."""
        chosen = name or self.weight_method
        return CheckedMethod(chosen, WEIGHT_METHODS.load(chosen))

    def made_methods(self) -> dict[str, Method]:
        """The methods by what was asked for, in their order."""
        kinds = [name.partition(":")[0] for name in self.methods]
        if twice := next((kind for kind in kinds if kinds.count(kind) > 1), None):
            raise UsageError(
                f"the method {twice!r} is named twice", hint="name each method once, in their order"
            )
        return {name: configured(name, METHODS)() for name in self.methods}

    @property
    def found_by(self) -> str:
        """The observer, for a file's metadata."""
        made = self.observer
        return made if isinstance(made, str) else type(made()).__name__

    @property
    def scheme(self) -> str:
        """The widths and the weight method, for a file's metadata."""
        method = "" if self.weight_method == "symmetric" else f", {self.weight_method} weights"
        rules = f", {len(self.layers)} rule{'s' * (len(self.layers) > 1)}" if self.layers else ""
        return f"{self.weight_bits}W/{self.act_bits}A integer{method}{rules}"


def _check_rule(rule: LayerRule) -> None:
    """Whether calibration can do what a rule asks.

    Raises:
        UsageError: it has no such choice, or not at one bit.
        UnknownName: nothing is registered under the name of its weight method.
    """
    if rule.activations is not None:
        raise UsageError(
            f"a rule for the layers {rule.match!r} names a method of activations",
            hint="calibration has one observer for all; --observer chooses it",
        )
    for name in ("weight_bits", "act_bits"):
        if (bits := getattr(rule, name)) is not None:
            field = f"{name} of the layers {rule.match!r}"
            check_width(field, bits, 2, wide=name == "act_bits")
    if rule.weights is not None:
        WEIGHT_METHODS.load(rule.weights)
