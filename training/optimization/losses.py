"""What training makes small.

The loss on the labels, a teacher's answers, and what quantisers add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.training.quantizers.parts.protocol import Penalized

if TYPE_CHECKING:
    from edgeq.training.recipes.recipe import Recipe


def squared_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """``mean(max(0, 1 - t y)^2)`` over samples and classes; ``t`` is 1 for the label, else -1.

    Source: Courbariaux, Bengio, David, *BinaryConnect* (2015), Sec. 3.1, and the authors' code for
    the mean.

    Args:
        logits: (n, classes).
        labels: (n,), int64.
    """
    targets = 2.0 * F.one_hot(labels, logits.shape[1]).to(logits.dtype) - 1.0
    return (1 - targets * logits).clamp(min=0).square().mean()


def distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(softmax(teacher / T) || softmax(logits / T))``, the mean over samples.

    Source: Hinton, Vinyals, Dean, *Distilling the knowledge in a neural network* (2015), Sec. 2;
    ``T^2`` keeps the size of the gradients.
    """
    log_p, log_q = F.log_softmax(teacher / temperature, 1), F.log_softmax(logits / temperature, 1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2


def penalty(model: nn.Module) -> Tensor:
    """The sum of what the quantisers of a network add to the loss, before the recipe's weight."""
    terms = [module.penalty() for module in model.modules() if isinstance(module, Penalized)]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def with_terms(
    recipe: Recipe,
    loss: Tensor,
    logits: Tensor,
    teacher: Tensor | None,
    inconsistency: Tensor | None,
) -> Tensor:
    """The loss of a batch on its labels, and what a recipe adds, a mean over its samples.

    What does not depend on samples is not in it.
    """
    if teacher is not None:
        loss = (1 - recipe.distillation) * loss + recipe.distillation * distillation(
            logits.float(), teacher, recipe.temperature
        )
    return loss if inconsistency is None else loss + recipe.consistency * inconsistency
