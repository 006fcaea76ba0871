"""What checkpoints of older versions hold that is kept otherwise today, so that they still compute what they computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.training.layers import WeightQuantizer
from edgeq.training.quantizers.max_abs import MaxAbs
from edgeq.training.quantizers.tracked_clip import TrackedClip

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import nn

_BOUND = ".clip.alpha"


def accept_older(model: nn.Module, names: Collection[str]) -> None:
    """Give weights their tracked bound back where a checkpoint holds one: today it is computed anew from each weight.

    Args:
        model: a network as it is built today; changed in place.
        names: of the checkpoint's tensors, as in the model.
    """
    for path, module in model.named_modules():
        if isinstance(module, WeightQuantizer) and isinstance(module.clip, MaxAbs) and f"{path}{_BOUND}" in names:
            module.clip = TrackedClip(module.clip.target_bits, signed=True, narrow=True, decay=1.0)
