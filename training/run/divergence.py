"""Says when training has gone wrong beyond repair, and where.

A loss, a weight or a bound that is no number any more.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from edgeq.errors import Diverged
from edgeq.training.checkpoint import model_state, not_finite
from edgeq.training.qat_transform import quantizers
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND

# at any width, 2^bits times the scale of the smallest bound is less
_COLLAPSED = 4.5 * SMALLEST_BOUND
_HINT = (
    "start again with a smaller --lr, or give the bounds one of their own under [[groups]] in "
    "the recipe"
)


def check_loss(loss: float, model: nn.Module, where: str) -> None:
    """Refuse a loss that is no number; a bound or weight that is none either is named.

    Args:
        loss: of a batch.
        model: the network.
        where: the epoch and step, for the message.

    Raises:
        Diverged: the loss is infinite or not a number.
    """
    if math.isfinite(loss):
        return
    odd = first_odd(model)
    culprit = f"; {odd} is not finite" if odd else ""
    raise Diverged(
        f"the loss is {loss} in {where}{culprit}", hint=f"{_HINT}; last.safetensors is from before"
    )


def first_odd(model: nn.Module) -> str | None:
    """The name of the first parameter or buffer that is not finite everywhere; bounds go first."""
    return min(
        not_finite(model_state(model)), key=lambda name: "quantizer" not in name, default=None
    )


def check_finite(model: nn.Module, where: str) -> None:
    """Refuse to keep what nobody can go on from.

    Raises:
        Diverged: a parameter or buffer is infinite or not a number.
    """
    if odd := first_odd(model):
        raise Diverged(
            f"{odd} is not finite after {where}", hint=f"{_HINT}; last.safetensors is from before"
        )


def check_bounds(model: nn.Module, where: str) -> None:
    """Refuse a learned bound that fell to the smallest one: no gradient leads back from it.

    Raises:
        Diverged: names its module.
    """
    paths = {id(module): path for path, module in model.named_modules()}
    for quantizer in quantizers(model):
        scale = getattr(quantizer, "scale", None)
        learned = isinstance(quantizer, nn.Module) and any(
            parameter.requires_grad for parameter in quantizer.parameters()
        )
        if (
            learned
            and isinstance(scale, torch.Tensor)
            and bool((scale.detach() * 2**quantizer.bits <= _COLLAPSED).all())
        ):
            raise Diverged(
                f"the bound of {paths[id(quantizer)]} has collapsed to zero in {where}", hint=_HINT
            )
