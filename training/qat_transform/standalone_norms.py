"""A BatchNorm behind no layer, as in networks that normalise first, becomes a layer.

It is a depthwise convolution whose only weight is one: its integers are all 127, the whole factor
of a channel is its scale, and so nothing of the normalisation is rounded but the bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import fx, nn

from edgeq.training.layers import QuantLayer, WeightQuantizer
from edgeq.training.qat_transform.operators import module_of
from edgeq.training.quantizers.max_abs import MaxAbs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.network.placement import Op, Placement

WEIGHT_BITS = 8  # of a one, which any width holds exactly


def insert_norms(
    graph_module: fx.GraphModule,
    ops: Sequence[Op],
    placement: Placement,
    gains: dict[fx.Node, float],
) -> dict[str, QuantLayer]:
    """Put a QuantLayer in the place of each BatchNorm of its own whose input lies on a grid.

    Returns them by tensor name.

    Their gains, which go into the layers, are taken out of ``gains``.
    """
    by_name = {op.name: op for op in ops}
    found: dict[str, QuantLayer] = {}
    for node in list(graph_module.graph.nodes):
        if node.name not in by_name or by_name[node.name].kind != "norm":
            continue
        if _stored(by_name[node.name].inputs[0], by_name) not in placement.tensors:
            continue
        norm: Any = module_of(graph_module, node)
        found[node.name] = QuantLayer(
            _ones(norm),
            norm,
            WeightQuantizer(MaxAbs(WEIGHT_BITS), normalize=False),
            gains.pop(node, 1.0),
        )
        graph_module.add_submodule(str(node.target), found[node.name])
    return found


def _stored(tensor: str, ops: Mapping[str, Op]) -> str:
    while ops[tensor].kind == "data_movement":
        tensor = ops[tensor].inputs[0]
    return tensor


def _ones(norm: nn.BatchNorm2d) -> nn.Conv2d:
    layer = nn.Conv2d(norm.num_features, norm.num_features, 1, groups=norm.num_features, bias=False)
    nn.init.ones_(layer.weight).requires_grad_(False)
    return layer
