"""How a float network is quantised after training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edgeq.calibration.checked_plugins import CheckedMethod, CheckedObserver
from edgeq.calibration.method_options import configured
from edgeq.calibration.methods import METHODS
from edgeq.calibration.observers import OBSERVERS
from edgeq.calibration.weight_methods import WEIGHT_METHODS
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.calibration.methods import Method
    from edgeq.calibration.observers import RangeObserver
    from edgeq.calibration.weight_methods import WeightQuantizer


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """The choices of a calibration.

    Attributes:
        observer: how ranges are found: a name of ``edgeq.observers``, with settings behind a colon
            (``percentile:percent=99.9``), or what makes an observer.
        weight_method: how weights become integers: a name of ``edgeq.weight_methods``.
        weight_bits: width of inner layers' weights, 2 to 8; the first and last layer have 8.
        act_bits: width of what inner layers read, 2 to 8; everything else has 8.
        per_channel: one weight scale for each output channel, where the method has that, or one for
            each layer.
        pair_safe: whether the scales of symmetric weights grow, where they have to, until no pair
            of products can saturate on x86 without VNNI.
        methods: names of ``edgeq.ptq_methods``, with settings behind a colon
            (``adaround:steps=2000``), in the order in which they are applied.
        method_samples: how many calibration samples such methods keep in memory, at most.

    Raises:
        UsageError: a width out of range.
        UnknownName: nothing is registered under a name.
    """

    observer: str | Callable[[], RangeObserver] = "minmax"
    weight_method: str = "symmetric"
    weight_bits: int = 8
    act_bits: int = 8
    per_channel: bool = True
    pair_safe: bool = True
    methods: tuple[str, ...] = ()
    method_samples: int = 512

    def __post_init__(self) -> None:
        for what, bits in (("weights", self.weight_bits), ("activations", self.act_bits)):
            if not 2 <= bits <= 8:
                raise UsageError(f"{what} of {bits} bits cannot be made", hint="choose 2 to 8")
        self.observer_factory()
        self.weight_quantizer()
        self.made_methods()

    def observer_factory(self) -> Callable[[], CheckedObserver]:
        """What makes the observer of one tensor, its answers checked."""
        given = self.observer
        made = configured(given, OBSERVERS) if isinstance(given, str) else given
        return partial(CheckedObserver, self.found_by, made)

    def weight_quantizer(self) -> WeightQuantizer:
        """The weight method, its answers checked."""
        return CheckedMethod(self.weight_method, WEIGHT_METHODS.load(self.weight_method))

    def made_methods(self) -> dict[str, Method]:
        """The methods by what was asked for, in their order."""
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
        return f"{self.weight_bits}W/{self.act_bits}A integer{method}"
