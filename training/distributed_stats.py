"""Batch statistics over several processes, each of which has a part of the batch.

Two kinds of module look at a batch as a whole: BatchNorm, and the quantisers whose bound follows
what they meet. Without agreement each process would train another network than one process alone
does.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from edgeq.errors import UsageError
from edgeq.models.stability.step_bound import StepNorm
from edgeq.training.autograd import applied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# of the module: statistics are taken deep inside a network, which knows of no processes
_processes = 1


@contextmanager
def sync_statistics(processes: int) -> Iterator[None]:
    """Inside, BatchNorm and data-driven bounds follow the batches of all processes together.

    Args:
        processes: how many there are, each with its part of every batch and the same steps.

    Raises:
        UsageError: torch's process group has another number of processes.
    """
    global _processes
    found = (
        distributed.get_world_size()
        if distributed.is_available() and distributed.is_initialized()
        else 1
    )
    if processes not in (1, found):
        raise UsageError(
            f"sync_statistics({processes}) is asked for, and torch.distributed has {found}",
            hint="call torch.distributed.init_process_group before, and give its get_world_size()",
        )
    before, _processes = _processes, processes
    try:
        yield
    finally:
        _processes = before


def largest(value: Tensor) -> Tensor:
    """The largest one among the processes, element by element; no gradient."""
    return _reduced(value, distributed.ReduceOp.MAX)


def least(value: Tensor) -> Tensor:
    """The smallest one among the processes, element by element; no gradient."""
    return _reduced(value, distributed.ReduceOp.MIN)


def mean(value: Tensor) -> Tensor:
    """The mean over the processes, element by element; no gradient."""
    return _reduced(value, distributed.ReduceOp.SUM) / _processes if _processes > 1 else value


def _reduced(value: Tensor, operation: Any) -> Tensor:
    if _processes == 1:
        return value
    reduced = value.detach().clone()
    distributed.all_reduce(reduced, op=operation)
    return reduced


class _Sum(torch.autograd.Function):
    """The sum over processes.

    Its gradient is the sum of the gradients that each process has for it.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ARG004
        total = grads[0].clone()
        distributed.all_reduce(total)
        return total


def synchronize(model: nn.Module) -> None:
    """Let every BatchNorm normalise by the mean and the variance of the whole batch.

    PyTorch's own ``SyncBatchNorm`` does so on GPUs only, and is no BatchNorm that can be folded.
    """
    norms: list[Any] = [
        module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    for norm in norms:
        norm.forward = partial(_normalize, norm, norm.forward)


def _normalize(
    bn: nn.BatchNorm1d | nn.BatchNorm2d, alone: Callable[[Tensor], Tensor], x: Tensor
) -> Tensor:
    if not bn.training or _processes == 1:
        return alone(x)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    own = wide.new_tensor([x.numel() // x.shape[1]])
    sums = applied(_Sum, torch.cat([wide.sum(axes), own]))
    count = sums[-1].detach()
    mean_ = sums[:-1] / count
    centred = wide - mean_.reshape(shape)
    variance = applied(_Sum, centred.square().sum(axes)) / count
    own_scales = bn.scale_and_shift() if isinstance(bn, StepNorm) else None
    _follow(bn, mean_.detach(), variance.detach(), count)
    y: Tensor = centred * torch.rsqrt(variance + bn.eps).reshape(shape)
    if own_scales is not None:
        y = y * own_scales[0].reshape(shape) + own_scales[1].reshape(shape)
    elif bn.affine:
        y = y * bn.weight.reshape(shape) + bn.bias.reshape(shape)
    return y.to(x.dtype)


@torch.no_grad()
def _follow(
    bn: nn.BatchNorm1d | nn.BatchNorm2d, mean_: Tensor, variance: Tensor, count: Tensor
) -> None:
    if bn.running_mean is None or bn.running_var is None or bn.num_batches_tracked is None:
        return
    bn.num_batches_tracked += 1
    share = 1 / float(bn.num_batches_tracked) if bn.momentum is None else bn.momentum
    bn.running_mean.lerp_(mean_, share)
    bn.running_var.lerp_(variance * count / (count - 1), share)
