"""Block reconstruction: learn rounding and activation steps for what a whole block answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import name_of
from edgeq.calibration.methods.adaround import AdaRound, check_learning
from edgeq.calibration.methods.parts.layer_pairs import BlockPair
from edgeq.calibration.methods.parts.quantized_layer import requantize_bias
from edgeq.calibration.methods.parts.rounding import round_one, still_pair_safe
from edgeq.calibration.methods.parts.soft_rounding import SoftRounding, regularizer
from edgeq.errors import UsageError
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_pairs import LayerPairs
    from edgeq.calibration.methods.parts.quantized_layer import QuantizedLayer

_BATCH = 32
_POSITIONS = 2**14  # of a step's answers; large images need fewer of them
_SEED = 20220311


class BlockReconstruction:
    """Learns rounding and activation steps so that each block answers as the float one does.

    Li et al., *BRECQ: Pushing the limit of post-training quantization by block reconstruction*
    (2021), Section 3.2 and Algorithm 1, with the squared error of Eq. 10 without Fisher weights;
    Wei et al., *QDrop: Randomly dropping quantization for extremely low-bit post-training
    quantization* (2022), Eq. 8 and Algorithm 1: while it learns, each activation stays in float
    with probability ``drop``, those that the block reads too. Rounding is learnt as by AdaRound,
    the steps of activations as by LSQ. Blocks stand between two places of the graph where only one
    tensor is alive; what has none is learnt layer by layer, as by AdaRound. A block that does not
    get better stays as it was.

    Args:
        steps: of Adam for each block. The papers take 20,000 at a rate of 0.001; 1,000 at 0.01 are
            enough for networks of this size.
        rate: of Adam, for rounding.
        scale_rate: of Adam, for the logarithms of steps of activations.
        drop: the share of activations that stay in float; 0 for BRECQ alone.
        strength: lambda, of the regulariser.

    Raises:
        UsageError: a setting with which nothing is learnt.
    """

    stage: ClassVar[Literal["integers"]] = "integers"

    def __init__(
        self,
        steps: int = 1000,
        rate: float = 1e-2,
        scale_rate: float = 1e-3,
        drop: float = 0.5,
        strength: float = 1e-2,
    ) -> None:
        if not scale_rate >= 0 or not 0 <= drop < 1:
            raise UsageError(
                f"block reconstruction cannot drop {drop} of activations and learn steps at "
                f"{scale_rate}",
                hint="choose a share from 0 to below 1 and a rate of at least 0",
            )
        check_learning("block reconstruction", steps, rate, strength)
        self._alone = AdaRound(steps, rate, strength)
        self.scale_rate, self.drop = scale_rate, drop

    def apply(self, layers: LayerPairs) -> str:
        """Learn all blocks in the order of the graph."""
        changed = blocks = 0
        for part in layers.blocks():
            made = (
                self._learn(part)
                if isinstance(part, BlockPair)
                else round_one(part, self._alone.learnt)
            )
            blocks += made is not None
            changed += bool(made)
        return f"reconstructed {counted(changed, 'block', of=blocks)}"

    def _learn(self, block: BlockPair) -> bool:
        import torch

        roundings = {_weight_name(layer): SoftRounding(layer) for layer in block.layers}
        free = {name: grid for name, grid in block.function.grids.items() if grid.free}
        logs = {name: torch.zeros((), requires_grad=True) for name in free}
        rates = (self._alone.rate, self.scale_rate)
        optimizer = torch.optim.Adam(
            [
                {"params": [each.v for each in roundings.values()], "lr": rates[0]},
                {"params": list(logs.values()), "lr": rates[1]},
            ]
        )
        inputs, floats, target = (
            torch.from_numpy(array) for array in (block.inputs, block.float_inputs, block.target)
        )
        random = torch.Generator().manual_seed(_SEED)
        positions = int(np.prod(block.target.shape[2:]))
        batch = min(len(inputs), _BATCH, max(4, _POSITIONS // positions))
        for step in range(self._alone.steps):
            share = step / self._alone.steps
            optimizer.param_groups[1]["lr"] = rates[1] * (1 + math.cos(math.pi * share)) / 2
            chosen = torch.randint(len(inputs), (batch,), generator=random)
            in_float = torch.rand(inputs[chosen].shape, generator=random) < self.drop
            soft = {name: each.weight() for name, each in roundings.items()}
            answer = block.function(
                torch.where(in_float, floats[chosen], inputs[chosen]),
                {name: weight for name, (weight, _) in soft.items()},
                {name: free[name].step * log.exp() for name, log in logs.items()},
                drop=self.drop,
                random=random,
            )
            loss = ((answer - target[chosen]) ** 2).sum(1).mean()
            for _, up in soft.values():
                loss = loss + self._alone.strength * regularizer(up, share)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scales = {
            name: np.float32(free[name].step * math.exp(log.item())) for name, log in logs.items()
        }
        integers = {name: each.integers() for name, each in roundings.items()}
        return _keep_better(block, integers, scales)


def _keep_better(
    block: BlockPair,
    integers: Mapping[str, NDArray[np.int32]],
    scales: Mapping[str, np.float32],
) -> bool:
    """Store new integers and steps where the block's answer comes closer to the target."""
    old = {_weight_name(layer): layer.integers for layer in block.layers}
    new = {name: still_pair_safe(integers[name], old[name]) for name in old}
    if not _error(block, new, scales) < _error(block, old, {}):
        return False
    for layer in block.layers:
        layer.set_integers(new[_weight_name(layer)])
    for name, scale in scales.items():
        grid = block.function.grids[name]
        grid.scale.const_value = ir.tensor(np.asarray(scale), name=name)
        for reader in grid.readers:
            requantize_bias(reader, scale)
    return True


def _error(
    block: BlockPair,
    integers: Mapping[str, NDArray[np.int32]],
    scales: Mapping[str, np.float32],
) -> float:
    """The squared error of the block's answer, on all samples."""
    import torch

    weights = {
        name: torch.from_numpy((integers[name] * layer.scale).astype(np.float32))
        for layer in block.layers
        if (name := _weight_name(layer))
    }
    steps = {name: torch.tensor(scale) for name, scale in scales.items()}
    error = 0.0
    with torch.no_grad():
        for start in range(0, len(block.inputs), _BATCH):
            part = slice(start, start + _BATCH)
            answer = block.function(torch.from_numpy(block.inputs[part]), weights, steps)
            error += float(((answer.numpy().astype(np.float64) - block.target[part]) ** 2).sum())
    return error


def _weight_name(layer: QuantizedLayer) -> str:
    """What the block's function calls the weights of a layer."""
    value = layer.node.inputs[1]
    return "" if value is None else name_of(value)
