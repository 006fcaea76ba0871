"""RMSProp with epsilon inside the root, as TensorFlow 1 computes it.

PyTorch divides by ``sqrt(mean square) + epsilon``. With the epsilon of 1.0 of Yun and Wong, *Do all
MobileNets quantize poorly?* (2021), Sec. 4, the two are different optimisers: TensorFlow's takes
steps of about the gradient where gradients are small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable


class RMSProp(torch.optim.Optimizer):
    """``ms = decay ms + (1 - decay) g^2;  m = momentum m + lr g / sqrt(ms + epsilon);  w = w - m``.

    Source: the documentation of ``ApplyRMSProp`` in TensorFlow 1.15 and ``RMSPropOptimizer``, which
    starts ``ms`` at one. Weight decay is added to the gradient, as PyTorch's optimisers do;
    TensorFlow has none.

    Args:
        params: parameters, or groups of them.
        lr: the learning rate. It stands inside the momentum, so a new one takes hold over some
            steps.
        decay: of the mean square.
        momentum: of the steps.
        epsilon: added to the mean square.
        weight_decay: times the parameter, added to the gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        decay: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-10,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "decay": decay,
                "momentum": momentum,
                "epsilon": epsilon,
                "weight_decay": weight_decay,
            },
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every parameter that has a gradient.

        What a closure computes comes back, as with PyTorch's optimisers.
        """
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["square_avg"] = torch.ones_like(parameter)
            state["momentum_buffer"] = torch.zeros_like(parameter)
        gradient = gradient.add(parameter, alpha=group["weight_decay"])
        mean_square, step = state["square_avg"], state["momentum_buffer"]
        mean_square.lerp_(gradient.square(), 1 - group["decay"])
        step.mul_(group["momentum"]).addcdiv_(
            gradient, (mean_square + group["epsilon"]).sqrt(), value=group["lr"]
        )
        parameter.sub_(step)
