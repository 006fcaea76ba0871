"""``torch.compile`` for networks whose widths are annealed.

The compiler takes the whole numbers that a module holds for constants. So each width that annealing
passes through would cost a compilation, and after the eighth it would give up and say so in a
warning only. Told otherwise it compiles twice: for the first width, and, when that changes, for
all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def compiled(module: nn.Module, *, backend: Any = "inductor") -> Callable[..., Any]:
    """The module's forward and backward pass, compiled when they are first needed.

    Args:
        module: shares its parameters and buffers with the result; evaluate the module itself.
        backend: what ``torch.compile`` takes.
    """
    # as slow to import as torch itself, and of use to whoever compiles
    from torch._dynamo import config

    program = torch.compile(module, backend=backend)

    def run(*args: Any, **kwargs: Any) -> Any:
        # read whenever it compiles, thus here and not above
        with config.patch(allow_unspec_int_on_nn_module=True):
            return program(*args, **kwargs)

    return run
