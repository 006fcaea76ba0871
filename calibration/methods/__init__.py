"""Methods of post-training quantisation beyond ranges and rounding to nearest.

One method a file, by entry point in ``edgeq.ptq_methods``. A *float method* rewrites the float
network before anything is quantised, and leaves its function as it is; a *measuring method* does so
by what its tensors are on samples. An *integer method* changes
the integers of weights and biases afterwards, on the grids that were chosen, so that the layers of
the quantised network answer more like those of the float one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from edgeq.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_pairs import LayerPairs
    from edgeq.calibration.normal_form.draft import Draft

    Tensors = Callable[[Sequence[str]], Mapping[str, NDArray[np.float32]]]


class FloatMethod(Protocol):
    """Rewrites the float network."""

    stage: ClassVar[Literal["float"]]

    def apply(self, draft: Draft) -> str:
        """Rewrite the canonical float graph in place.

        Returns:
            What was done, for people: ``"equalised 12 pairs of layers"``.
        """
        ...


class MeasuringMethod(Protocol):
    """Rewrites the float network by what its tensors are on samples."""

    stage: ClassVar[Literal["measured"]]

    def apply(self, draft: Draft, tensors: Tensors) -> str:
        """Rewrite the canonical float graph in place.

        Args:
            draft: the graph.
            tensors: gives tensors of it by name on the first samples, (samples, ...).

        Returns:
            What was done, for people.
        """
        ...


class IntegerMethod(Protocol):
    """Changes integers of layers, and no grid."""

    stage: ClassVar[Literal["integers"]]

    def apply(self, layers: LayerPairs) -> str:
        """Go through the layers in the order of the graph and change their integers.

        What becomes of a layer depends on the layer alone, and not on what is kept from earlier
        ones: after an interruption the layers that were done are left out.

        Returns:
            What was done, for people.
        """
        ...


Method = FloatMethod | MeasuringMethod | IntegerMethod

METHODS: Registry[Callable[[], Method]] = Registry("ptq method")
"""What makes a method, by the name that a user types."""
