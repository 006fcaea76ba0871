"""A quantisation scheme: widths and placement, in the words people use (4W/8A)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

from edgeq.errors import UsageError
from edgeq.placement import PlacementName

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a network is quantised in training.

    Attributes:
        weight_bits: width of the weights of inner layers, 2 to 8.
        act_bits: width of the activations that inner layers read, 2 to 8.
        edge_bits: width of everything else that the ``integer`` placement stores: input, first and last layer,
            residual branches, concatenation and pooling.
        placement: ``integer`` (an integer runtime can run all of it) or ``paper`` (the published quantisers only).
        normalize_weights: Eq. 20 of Ben-Yair et al.: weights of layers with BatchNorm are brought to zero mean and unit
            variance before they are quantised.
    """

    weight_bits: int = 8
    act_bits: int = 8
    edge_bits: int = 8
    placement: PlacementName = "integer"
    normalize_weights: bool = True

    def __post_init__(self) -> None:
        for name in ("weight_bits", "act_bits", "edge_bits"):
            bits = getattr(self, name)
            if type(bits) is not int or not 2 <= bits <= 8:
                raise UsageError(f"{name} is {bits}", mend="choose a width from 2 to 8 bits")
        if type(self.normalize_weights) is not bool:
            raise UsageError(f"normalize_weights is {self.normalize_weights!r}", mend="choose true or false")
        if self.placement not in get_args(PlacementName):
            raise UsageError(f"no placement is called {self.placement!r}", mend=f"choose one of {', '.join(get_args(PlacementName))}")

    @property
    def name(self) -> str:
        """The short name, such as ``4W/8A``."""
        return f"{self.weight_bits}W/{self.act_bits}A"

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Scheme:
        """The inverse of :meth:`to_dict`.

        Raises:
            UsageError: a field is unknown, or out of range.
        """
        known = cls.__dataclass_fields__
        if unknown := set(fields) - set(known):
            raise UsageError(f"a scheme has no field {', '.join(sorted(unknown))}", mend=f"use {', '.join(known)}")
        return cls(**fields)
