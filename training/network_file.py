"""A file that stands for a network which only the running program has.

It holds the network's numbers, so that its size is theirs, and the name under which its owner gave
the network: by ``--model package.module:function``, or in Python. It is of no use to another
program.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgeq.errors import UsageError
from edgeq.factories import call
from edgeq.network.layer_protocols import IntegerLayer
from edgeq.network.loading import LoadedModel
from edgeq.training.qat_transform import set_rounding
from edgeq.training.qat_transform.tracing import trace

FORMAT = "edgeq.network/1"


def load_network(about: Any, *, rounding: bool) -> LoadedModel:
    """The network that a file stands for, in evaluation mode.

    Args:
        about: what the file says.
        rounding: as of :class:`edgeq.network.loading.Loader`.

    Raises:
        UsageError: its owner has not given it to this program, or it is no network.
    """
    reference, shape = str(about["network"]), tuple(map(int, about["input_shape"]))
    made = call(reference, flag="--model")
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{reference}() returns a {type(made).__name__}, no torch.nn.Module",
            hint="return the network",
        )
    network = made.eval()
    quantized = any(isinstance(module, IntegerLayer) for module in network.modules())
    if quantized:
        set_rounding(network, weights=rounding, activations=rounding)
    else:
        network = trace(network, torch.zeros(1, *shape))
    return LoadedModel(network.eval(), shape, quantized, {"model": reference})
