"""What a network does in training only, as far as a trace of evaluation has to know it.

Whether a gradient is stopped, and whether a BatchNorm that is called as a function takes the
statistics of its batch, may hang on ``self.training``. A second trace, of training, tells, and is
made only where there is something to ask.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import fx, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.network.calls import argument

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTION, _PLACE = "training", 5  # of F.batch_norm


def settle_by_training(
    graph_module: fx.GraphModule,
    held: set[fx.Node],
    model: nn.Module,
    trace: Callable[[nn.Module], tuple[fx.GraphModule, set[fx.Node]]],
) -> set[fx.Node]:
    """Give each ``F.batch_norm`` its mode of training, and tell what is held fixed there.

    Args:
        graph_module: a trace of evaluation; changed in place.
        held: the nodes that it found while gradients were switched off.
        model: what was traced.
        trace: makes such a trace.

    Returns:
        Those of ``held`` that are found so in training too, or that only evaluation has.

    Raises:
        UsageError: the network cannot be traced as it trains.
    """
    norms = [node for node in graph_module.graph.nodes if node.target is F.batch_norm]
    asked = [node for node in norms if not _is_of_norm(node, model)]
    for node in norms:
        _set_mode(node, live=True)
    if not asked and not held:
        return held
    try:
        twin, held_there = trace(copy.deepcopy(model).train())
    except Exception as error:
        place = next(iter([*held, *asked])).name
        raise UsageError(
            f"{place} may compute otherwise in training than in evaluation, and the "
            f"network cannot be traced in training: {error}",
            hint="leave out torch.no_grad and F.batch_norm, in favour of x.detach() and "
            "nn.BatchNorm2d",
        ) from error
    there = {node.name: node for node in twin.graph.nodes}
    for node in asked:
        other = there.get(node.name)
        _set_mode(node, live=other is not None and bool(argument(other, _PLACE, _OPTION, False)))
    names = {node.name for node in held_there}
    return {node for node in held if node.name in names or node.name not in there}


def _is_of_norm(node: fx.Node, model: nn.Module) -> bool:
    """Whether it is a BatchNorm that calls it, whose mode it then has."""
    callers = list(node.meta.get("nn_module_stack", {}).values())
    return bool(callers) and isinstance(
        model.get_submodule(callers[-1][0]), nn.modules.batchnorm._BatchNorm
    )


def _set_mode(node: fx.Node, *, live: bool) -> None:
    given: Any = list(node.args)
    if len(given) > _PLACE:
        given[_PLACE] = live
        node.args = tuple(given)
    else:
        node.kwargs = {**node.kwargs, _OPTION: live}
