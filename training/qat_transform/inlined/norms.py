"""Norms over each sample, as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn import functional as F

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn


def normalize_groups(module: nn.GroupNorm, x: Tensor) -> Tensor:
    """What nn.GroupNorm computes."""
    return F.group_norm(x, module.num_groups, module.weight, module.bias, module.eps)


def normalize_layer(module: nn.LayerNorm, x: Tensor) -> Tensor:
    """What nn.LayerNorm computes."""
    return F.layer_norm(x, module.normalized_shape, module.weight, module.bias, module.eps)


def normalize_by_root(module: nn.RMSNorm, x: Tensor) -> Tensor:
    """What nn.RMSNorm computes."""
    return F.rms_norm(x, module.normalized_shape, module.weight, module.eps)


def normalize_instances(module: Any, x: Tensor) -> Tensor:
    """What nn.InstanceNorm1d and nn.InstanceNorm2d compute."""
    if module.track_running_stats:
        raise UsageError(
            "an InstanceNorm with running statistics cannot be quantised",
            hint="use track_running_stats=False, or a BatchNorm",
        )
    return F.group_norm(x, module.num_features, module.weight, module.bias, module.eps)
