"""From a module of anybody's to a graph of its operators, with ``torch.fx``."""

from __future__ import annotations

from torch import fx, nn

from edgeq.errors import UsageError


def trace(model: nn.Module) -> fx.GraphModule:
    """The network as a graph whose node names come from its module paths.

    Raises:
        UsageError: ``torch.fx`` cannot follow it.
    """
    try:
        return fx.symbolic_trace(model)
    except Exception as error:  # whatever a user's forward raises under tracing
        raise UsageError(
            f"torch.fx cannot trace {type(model).__name__}: {error}",
            mend="make its forward free of control flow that depends on tensor values",
        ) from error
