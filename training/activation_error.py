"""What rounding activations alone does to a network.

The MSE "4A -> 32A" of the papers, block by block.

Source: Ben-Yair, Eliasof, Treister, *Quantized convolutional neural networks through the lens of
partial differential equations*, Eq. 3, Figure 1, Tables 1-2. Two copies of one quantised network
with the same clipping bounds are compared, one that rounds its activations and one that does not;
differences are taken at block outputs (after ReLU, concatenation and pooling, before the next
quantiser) and pooled. The paper calls the figure an MSE, the authors' code prints its root; both
are given here, under their own names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from edgeq.errors import UsageError
from edgeq.metrics.accuracy import top1
from edgeq.metrics.drift import DriftMeter, pooled_mse
from edgeq.training.qat_transform import set_rounding
from edgeq.training.quantizers.parts.protocol import Quantizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.results import Drift

_JOINS = (torch.cat, nn.AvgPool2d, nn.MaxPool2d)


@dataclass(frozen=True, slots=True)
class ActivationError:
    """The effect of rounding activations, weights being the same.

    Attributes:
        mse: over all block outputs, in squared real units.
        rmse: its root, in real units.
        blocks: one record a block, in order.
        accuracy_unrounded: of the copy that only clips its activations, a fraction.
        samples: how many samples were used.
    """

    mse: float
    rmse: float
    blocks: tuple[Drift, ...]
    accuracy_unrounded: float
    samples: int


def activation_error(
    model: nn.Module, batches: Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]]
) -> ActivationError:
    """Measure a quantised network, in evaluation mode, on batches of images and labels.

    Raises:
        UsageError: the network carries no quantisers or has no blocks, or there is no sample.
    """
    if not isinstance(model, fx.GraphModule):
        raise UsageError(
            "a network without quantisers rounds no activations", hint="measure a quantised one"
        )
    outputs = block_outputs(model)
    if not outputs:
        raise UsageError(
            "the network has no residual blocks", hint="compare its layers with edgeq compare"
        )
    meters = {node.name: DriftMeter(node.name, depth) for depth, node in enumerate(outputs)}
    right = seen = 0
    try:
        for images, labels in batches:
            right += _measure(model, torch.from_numpy(images), labels, meters)
            seen += len(labels)
    finally:
        set_rounding(model, weights=True, activations=True)
    if not seen:
        raise UsageError("there is no sample to measure the network on", hint="give at least one")
    blocks = tuple(meter.result() for meter in meters.values())
    mse = pooled_mse(blocks)
    return ActivationError(mse, mse**0.5, blocks, right / seen, seen)


def block_outputs(model: fx.GraphModule) -> list[fx.Node]:
    """The node at the end of each residual block.

    Its sum, then the ReLU, concatenation and pooling behind it.
    """
    modules = dict(model.named_modules())

    def belongs(node: fx.Node) -> bool:
        what: Any = type(modules[str(node.target)]) if node.op == "call_module" else node.target
        return what in (nn.ReLU, *_JOINS)

    def end(node: fx.Node) -> fx.Node:
        through = [
            user for user in node.users if isinstance(modules.get(str(user.target)), Quantizer)
        ]
        for user in [*node.users, *(reader for quantizer in through for reader in quantizer.users)]:
            if belongs(user):
                return end(user)
        return node

    sums = [node for node in model.graph.nodes if getattr(node.target, "__name__", "") == "add"]
    return list(dict.fromkeys(end(node) for node in sums))


@torch.inference_mode()
def _measure(
    model: fx.GraphModule,
    x: torch.Tensor,
    labels: NDArray[np.int64],
    meters: Mapping[str, DriftMeter],
) -> int:
    """Compare the two copies on one batch.

    How many samples the one that only clips classifies right.
    """
    set_rounding(model, weights=True, activations=True)
    rounded, _ = record(model, x, meters)
    set_rounding(model, weights=True, activations=False)
    clipped, logits = record(model, x, meters)
    for name, meter in meters.items():
        meter.update(clipped[name].numpy(), rounded[name].numpy())
    return int((top1(logits.numpy()) == labels).sum())


class _Recorder(fx.Interpreter):
    def __init__(self, model: fx.GraphModule, names: Iterable[str]) -> None:
        super().__init__(model)
        self.names = set(names)
        self.found: dict[str, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self.names:
            self.found[n.name] = result
        return result


def record(
    model: fx.GraphModule, x: torch.Tensor, names: Iterable[str]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The tensors of these names that a network computes on the way, and its output."""
    recorder = _Recorder(model, names)
    logits = recorder.run(x)
    return recorder.found, logits
