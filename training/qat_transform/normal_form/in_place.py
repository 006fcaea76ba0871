"""What works in place, as what does not, read by all that would have seen it.

PyTorch's in-place modules and functions write into the tensor that they read. Behind a quantiser
that is a tensor of autograd's own, which nobody may write into; and a graph whose tensors change
has no meaning in a file.
"""

from __future__ import annotations

import copy
import inspect
import operator
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import fx
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.training.qat_transform.only_in_training import OnlyInTraining

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_OPERATORS: Mapping[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
_OPTION = "inplace"
_RESHAPING = frozenset(
    (
        "view",
        "view_as",
        "reshape",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "expand",
        "expand_as",
        "contiguous",
    )
)
_MOVING = frozenset(("permute", "transpose", "movedim", "swapaxes", "swapdims", "detach"))
_VIEWS = (
    _RESHAPING
    | _MOVING
    | {"narrow", "select", "chunk", "split", "tensor_split", "unbind", "getitem"}
)
"""What may give a part of a tensor, or the whole of it, another name."""


def nothing_in_place(graph_module: fx.GraphModule, held: Collection[fx.Node]) -> None:
    """Rewrite a traced graph. The network's own modules are left as they are.

    Args:
        graph_module: as traced; changed in place.
        held: the nodes that were traced while gradients were switched off.

    Raises:
        UsageError: what is written into has another name, by which it is read later; or it is
            written into without gradients, and autograd would pass the gradient of what it was
            before.
    """
    in_place = _modules_out_of_place(graph_module)
    for node in list(graph_module.graph.nodes):
        if node.op == "call_module":
            writes = str(node.target) in in_place
        elif node.op == "call_method":
            writes = _method(node)
        else:
            writes = node.op == "call_function" and _function(node)
        if writes:
            _check_gradient(node, held)
            _seen_by_later_readers(node)


def _modules_out_of_place(graph_module: fx.GraphModule) -> set[str]:
    """The paths of modules that work in place, of which copies that do not take the place."""
    found = set()
    for path, module in list(graph_module.named_modules(remove_duplicate=False)):
        if isinstance(module, OnlyInTraining) and module.in_place:
            found.add(path)
        elif getattr(module, _OPTION, False) is True and type(module).__module__.startswith(
            "torch.nn."
        ):
            found.add(path)
            twin: Any = copy.copy(module)
            twin.inplace = False
            graph_module.set_submodule(path, twin)
    return found


def _method(node: fx.Node) -> bool:
    """Whether a method works in place; then it does not any more."""
    name = str(node.target)
    if not name.endswith("_") or name.endswith("__") or name == "requires_grad_":
        return False
    node.target = name.removesuffix("_")
    return True


def _function(node: fx.Node) -> bool:
    """Whether a function works in place; then it does not any more."""
    target = _OPERATORS.get(node.target) or _without_underscore(node.target)
    if target is not None:
        node.target = target
    return _drop_option(node) or target is not None


def _without_underscore(target: Any) -> Any:
    """``torch.relu`` for ``torch.relu_``; None for a function that does not work in place."""
    name = getattr(target, "__name__", "")
    homes = [
        home for home in (torch, F) if name.endswith("_") and getattr(home, name, None) is target
    ]
    return getattr(homes[0], name.removesuffix("_"), None) if homes else None


def _drop_option(node: fx.Node) -> bool:
    """``F.relu(x, inplace=True)`` becomes ``F.relu(x)``; whether it was asked to work in place."""
    try:
        names = list(inspect.signature(cast("Callable[..., Any]", node.target)).parameters)
    except (TypeError, ValueError):
        return False  # one of torch's own in C++, of which none has the option
    if _OPTION not in names:
        return False
    place = names.index(_OPTION)
    asked = node.kwargs.get(_OPTION, node.args[place] if len(node.args) > place else False)
    node.kwargs = {
        **dict(zip(names[place + 1 :], node.args[place + 1 :], strict=False)),
        **node.kwargs,
    }
    node.kwargs = {name: value for name, value in node.kwargs.items() if name != _OPTION}
    node.args = node.args[:place]
    return bool(asked)


def _check_gradient(node: fx.Node, held: Collection[fx.Node]) -> None:
    source = node.args[0] if node.args else None
    if (
        node in held
        and isinstance(source, fx.Node)
        and source not in held
        and source.op.startswith("call_")
    ):
        raise UsageError(
            f"{node.name} writes into {source.name} without gradients, so that training "
            "would go by what was there before",
            hint="write it so that it makes a tensor of its own, as in y = y.detach() + 1",
        )


def _seen_by_later_readers(node: fx.Node) -> None:
    """Who reads the operand after an operation in place reads its result."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node):
        return
    place = {each: at for at, each in enumerate(node.graph.nodes)}
    for name in _other_names(source, node, place):
        later = [user for user in name.users if place[user] > place[node]]
        if later:
            raise UsageError(
                f"{node.name} writes into {source.name}, of which {name.name} is a part or "
                f"the whole, and {later[0].name} reads that "
                "afterwards",
                hint="write it so that it makes a tensor of its own, as in y = y + 1 or "
                "torch.relu(y)",
            )
    source.replace_all_uses_with(node, delete_user_cb=lambda user: place[user] > place[node])


def _other_names(source: fx.Node, node: fx.Node, place: Mapping[fx.Node, int]) -> list[fx.Node]:
    """The tensors that share memory with one, as far as they are made before a node."""
    root = source
    while _is_view(root) and root.all_input_nodes:
        root = root.all_input_nodes[0]
    found = [root]
    for name in found:
        found += [
            user
            for user in name.users
            if _is_view(user) and place[user] < place[node] and user not in found
        ]
    return [name for name in found if name is not source]


def _is_view(node: fx.Node) -> bool:
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return node.op in ("call_method", "call_function") and name in _VIEWS
