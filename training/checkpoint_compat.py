"""Read checkpoints of older versions so that they still compute what they computed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgeq.training.layers import WeightQuantizer
from edgeq.training.quantizers.max_abs import MaxAbs
from edgeq.training.quantizers.tracked_clip import TrackedClip

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import Tensor, nn

_BOUND = ".clip.alpha"
_DEFAULTS = {"normalize_weights": True, "per_channel": False, "affine": False, "pair_safe": False}
"""Of a scheme, before it could leave them open."""
_LSQ_SCALE = re.compile(r"(\bquantizers\.[^.]+|\.quantizer\.clip)\.scale(?=/|$)")
"""The learned parameter of LSQ, by the name that it had."""
_RENAMED = {"edge_bits": "boundary_bits"}
_FIRST_LAST = {"edge": "boundary"}
"""Fields of a scheme, and words of its ``first_last``, by what they were called once."""


def complete_older(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a checkpoint with today's field names, and the defaults of its time."""
    if recipe["scheme"] is None:
        return {**recipe}
    scheme = {
        **_DEFAULTS,
        **{_RENAMED.get(name, name): value for name, value in {**recipe["scheme"]}.items()},
    }
    if scheme.get("first_last") in _FIRST_LAST:
        scheme["first_last"] = _FIRST_LAST[scheme["first_last"]]
    return {**recipe, "scheme": scheme}


def rename_older(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors, the network's and the optimiser's, by today's names."""
    return {_LSQ_SCALE.sub(r"\1.target_scale", name): tensor for name, tensor in tensors.items()}


def accept_older(model: nn.Module, names: Collection[str]) -> None:
    """Give weights their tracked bound back where a checkpoint holds one.

    Today it is computed anew from each weight.

    Args:
        model: a network as it is built today; changed in place.
        names: of the checkpoint's tensors, as in the model.
    """
    for path, module in model.named_modules():
        if (
            isinstance(module, WeightQuantizer)
            and isinstance(module.clip, MaxAbs)
            and f"{path}{_BOUND}" in names
        ):
            module.clip = TrackedClip(
                module.clip.target_bits, signed=True, narrow_range=True, decay=1.0
            )
