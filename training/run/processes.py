"""The device that training runs on, and the processes that share its work, by Accelerate.

In one process on a CPU nothing of it is imported, and training is what it is without it. Where
``accelerate launch --multi_gpu`` or ``torchrun`` (anywhere) started several, each has a part of
every batch. Gradients are averaged so that the step is that of the whole batch; BatchNorm and the
bounds that follow a batch see the whole batch too (:mod:`edgeq.training.distributed_stats`).
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from edgeq.training.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Attributes:
        device: where its network and data are.
        rank: its number; 0 alone writes files.
        count: how many there are.
        accelerator: Accelerate's, None where it is not needed.
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    accelerator: Any = None

    def share(self, samples: int) -> slice:
        """This process's part of so many samples; the parts differ by one sample at most."""
        return slice(samples * self.rank // self.count, samples * (self.rank + 1) // self.count)

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module whose backward pass averages gradients over the processes."""
        if self.count == 1:
            return module
        # Kernels of one channel have two layouts that are the same; DDP copies 1 kB for it and says
        # so at length.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        prepared: nn.Module = self.accelerator.prepare_model(module)
        return prepared

    def totals(self, *numbers: float) -> tuple[float, ...]:
        """Each number summed over the processes."""
        if self.count == 1:
            return numbers
        summed = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(summed)
        return tuple(summed.tolist())

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            self.accelerator.wait_for_everyone()


def join(recipe: Recipe, *, cpu: bool = False) -> Processes:
    """Find this process's device and companions.

    Args:
        recipe: its precision has to be the launcher's, where that asks for one.
        cpu: leave an accelerator alone that is there.

    Raises:
        UsageError: the launcher and the recipe disagree.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    cpu = cpu or not torch.accelerator.is_available()
    if launched == 1 and cpu:
        return Processes(torch.device("cpu"))
    _check_precision(recipe)
    from accelerate import Accelerator

    # the recipe says at which precision a step is computed
    accelerator = Accelerator(cpu=cpu, mixed_precision="no")
    if accelerator.num_processes != launched:
        raise UsageError(
            f"the launcher started {launched} processes, and Accelerate found "
            f"{accelerator.num_processes}",
            hint="start them with torchrun",
        )
    return Processes(
        accelerator.device, accelerator.process_index, accelerator.num_processes, accelerator
    )


def _check_precision(recipe: Recipe) -> None:
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", recipe.precision):
        raise UsageError(
            f"accelerate launch asks for {asked} and the recipe for {recipe.precision}",
            hint="leave out --mixed_precision, and give edgeq train --precision bf16",
        )
