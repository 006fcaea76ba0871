"""How a target opens a checkpoint without knowing the training room.

Through the entry-point group ``edgeq.loaders``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeq.brief import brief
from edgeq.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A trained network in evaluation mode.

    Attributes:
        module: the network, in evaluation mode, on the CPU.
        input_shape: (channels, height, width) of one sample.
        quantized: whether it carries quantisers.
        metadata: what the checkpoint says of its making: model, data, scheme, seed, edgeq version.
    """

    module: torch.nn.Module
    input_shape: tuple[int, ...]
    quantized: bool
    metadata: Mapping[str, str]

    __repr__ = brief


class Loader(Protocol):
    """Opens one checkpoint format."""

    def __call__(self, path: Path, *, rounding: bool = True) -> LoadedModel:
        """Rebuild the network of a checkpoint.

        Args:
            path: the file.
            rounding: false switches all rounding of weights and activations off (clipping stays):
                the FP32 reference of a quantised network.

        Raises:
            ArtefactError: missing, truncated or foreign file.
        """
        ...


LOADERS: Registry[Loader] = Registry("loader")
