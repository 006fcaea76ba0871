"""A layer that is called twice becomes two that share their parameters.

Each call has an input grid, and so a bias, of its own.
"""

from __future__ import annotations

from torch import fx, nn

_WITH_PARAMETERS = (
    nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm
)


def separate_calls(graph_module: fx.GraphModule) -> None:
    """Give each later call of a layer or BatchNorm its own path: ``<path>_call2`` and so on.

    The module stays the same.
    """
    calls: dict[str, int] = {}
    for node in graph_module.graph.nodes:
        if node.op != "call_module":
            continue
        path = str(node.target)
        calls[path] = calls.get(path, 0) + 1
        module = graph_module.get_submodule(path)
        if calls[path] > 1 and isinstance(module, _WITH_PARAMETERS):
            node.target = f"{path}_call{calls[path]}"
            graph_module.add_submodule(node.target, module)
