"""Experiments of published papers, each a function that a sweep file calls by name.

A function takes the parameters of a cell by name and gives figures by name; accuracies are in %.
It may write into the current folder, which is the cell's own.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeq.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

EXPERIMENTS: Mapping[str, str] = {
    "residual": "networks that train in FP32, then at 4W/8A and 4W/4A, and how rounding grows",
    "graph": "PDE-GCN on a citation graph, in FP32, at 4W/8A and at 4W/4A",
    "quint8": "networks of regular and of separable convolutions after training in uint8",
    "depth": "fully connected networks: bits that bounds ask for, and bits that are enough",
    "binary": "a fully connected network with weights or activations of one bit",
}
"""Name to what it is; the module of that name here has a function ``measure``."""


def experiment(name: str) -> Callable[..., dict[str, Any]]:
    """The function of a name."""
    found: Callable[..., dict[str, Any]] = import_module(f"{__name__}.{name}").measure
    return found


def check_parameters(name: str, parameters: Iterable[str]) -> None:
    """See that an experiment takes these parameters, and gets all that it needs.

    Raises:
        UsageError: it does not.
    """
    known = inspect.signature(experiment(name)).parameters
    for parameter in parameters:
        if parameter not in known:
            raise UnknownName(f"parameter of the experiment {name}", parameter, known)
    lacking = [
        each.name
        for each in known.values()
        if each.default is inspect.Parameter.empty and each.name not in parameters
    ]
    if lacking:
        raise UsageError(
            f"the experiment {name} needs {', '.join(lacking)}",
            hint=f"add to [grid]: {lacking[0]} = [...]",
        )
