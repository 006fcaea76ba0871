"""Layers, normalisations and drop-out that a network calls as functions, as modules.

A subclass of a layer is traced into its functions; what it reads are still the parameters of the
network, which the module that stands in its place takes over, so that training goes on in the very
same tensors.
"""

from __future__ import annotations

import copy
import inspect
import operator
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_PARAMETERS: Mapping[Any, tuple[str, ...]] = {
    **dict.fromkeys(
        (F.conv1d, F.conv2d),
        ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    ),
    **dict.fromkeys(
        (F.conv_transpose1d, F.conv_transpose2d),
        (
            *("input", "weight", "bias", "stride", "padding"),
            *("output_padding", "groups", "dilation"),
        ),
    ),
    F.linear: ("input", "weight", "bias"),
}


def lift(graph_module: fx.GraphModule) -> None:
    """Replace functions by modules, in place.

    Raises:
        UsageError: a layer computes its own weights.
    """
    _Lifter(graph_module).run()


def pad_in_numbers(graph_module: fx.GraphModule) -> None:
    """Give every convolution its padding in numbers, in place."""
    _Lifter(graph_module).pad_in_numbers()


def hand_over(graph_module: fx.GraphModule, paths: Iterable[str]) -> None:
    """Take parameters from the modules that had them, as others have them now."""
    for path in paths:
        owner, _, name = path.rpartition(".")
        value = operator.attrgetter(path)(graph_module)
        delattr(graph_module.get_submodule(owner), name)
        for node in graph_module.graph.nodes:
            if node.op == "get_attr" and node.target == path:
                node.target = path_of(graph_module, value)


def path_of(graph_module: fx.GraphModule, value: Tensor) -> str:
    """The first name of a parameter or buffer that the network has."""
    named = (
        *graph_module.named_parameters(remove_duplicate=False),
        *graph_module.named_buffers(remove_duplicate=False),
    )
    return next(path for path, each in named if each is value)


def unused_path(graph_module: fx.GraphModule, wanted: str) -> str:
    """A path for a new module.

    The one wanted, or that with a number where the network has something of that name.
    """
    owner, _, name = wanted.rpartition(".")
    holder, unused, number = graph_module.get_submodule(owner), name, 2
    while hasattr(holder, unused):
        unused, number = f"{name}_{number}", number + 1
    return f"{owner}.{unused}".lstrip(".")


class _Lifter:
    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module, self.graph = graph_module, graph_module.graph
        self.made: dict[tuple[Any, ...], str] = {}
        self.taken_over: set[str] = set()

    def run(self) -> None:
        for node in list(self.graph.nodes):
            build = _BUILDERS.get(node.target) if node.op == "call_function" else None
            if build is not None:
                self._lift(node, build)
        hand_over(self.graph_module, self.taken_over)

    def pad_in_numbers(self) -> None:
        for node in list(self.graph.nodes):
            if node.op == "call_module":
                self._pad_in_numbers(node)

    def _lift(
        self, node: fx.Node, build: Callable[[Mapping[str, Any], Callable[[Any], Any]], nn.Module]
    ) -> None:
        given = _bound(node)
        tensors = [
            name for name, value in given.items() if isinstance(value, fx.Node) and name != "input"
        ]
        odd = [name for name in tensors if given[name].op != "get_attr"]
        if odd:
            raise UsageError(
                f"{node.name} computes its own {odd[0]}, which cannot be quantised",
                hint="use an ordinary layer, its parameters as they are",
            )
        key = (node.target, *(str(value) for name, value in given.items() if name != "input"))
        if key not in self.made:
            module = build(given, self._tensor)
            module.train(False)
            self.made[key] = self._place(module, node, [given[name] for name in tensors])
        path = self.made[key]
        with self.graph.inserting_before(node):
            call = self.graph.create_node(
                "call_module", path, (given["input"],), name=path.replace(".", "_")
            )
        call.meta.update(node.meta)
        node.replace_all_uses_with(call)
        self.graph.erase_node(node)
        for name in tensors:
            if not given[name].users:
                self.graph.erase_node(given[name])

    def _tensor(self, node: Any) -> Any:
        return (
            operator.attrgetter(str(node.target))(self.graph_module)
            if isinstance(node, fx.Node)
            else node
        )

    def _place(self, module: nn.Module, node: fx.Node, tensors: list[fx.Node]) -> str:
        """The path of the module that owns its tensors, or one below it where that has parts."""
        owner = str(tensors[0].target).rpartition(".")[0] if tensors else ""
        names = {str(tensor.target).rpartition(".")[2] for tensor in tensors}
        holder = self.graph_module.get_submodule(owner)
        free = (
            owner
            and not any(True for _ in holder.children())
            and dict(holder.named_parameters()).keys() <= names
        )
        path = owner if free else unused_path(self.graph_module, f"{owner}.{node.name}".lstrip("."))
        self.graph_module.add_submodule(path, module)
        if not free:
            self.taken_over |= {str(tensor.target) for tensor in tensors}
        return path

    def _pad_in_numbers(self, node: fx.Node) -> None:
        """``same`` is a number of zeros on each side; where they differ, on the tensor before."""
        module = self.graph_module.get_submodule(str(node.target))
        if not isinstance(module, nn.Conv2d) or not isinstance(module.padding, str):
            return
        totals = [
            d * (k - 1) if module.padding == "same" else 0
            for d, k in zip(module.dilation, module.kernel_size, strict=True)
        ]
        twin = copy.copy(module)  # the network's own is left as it is
        self.graph_module.set_submodule(str(node.target), twin)
        if not any(total % 2 for total in totals):
            twin.padding = (totals[0] // 2, totals[1] // 2)
            return
        twin.padding = (0, 0)
        ends = [end for total in reversed(totals) for end in (total // 2, total - total // 2)]
        for call in [
            each
            for each in self.graph.nodes
            if each.op == "call_module" and each.target == node.target
        ]:
            with self.graph.inserting_before(call):
                padded = self.graph.call_function(F.pad, (call.args[0], ends))
            call.args = (padded,)


def _bound(node: fx.Node) -> dict[str, Any]:
    """The arguments of a call by name."""
    names = _PARAMETERS.get(node.target)
    if names is None:
        names = tuple(inspect.signature(cast("Callable[..., Any]", node.target)).parameters)
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _convolution(
    kind: Any, given: Mapping[str, Any], tensor: Callable[[Any], Any], *, transposed: bool = False
) -> nn.Module:
    weight, groups = tensor(given["weight"]), given.get("groups", 1)
    names = ("stride", "padding", "dilation", *(("output_padding",) * transposed))
    options = {name: given[name] for name in names if name in given}
    outs, ins, *kernel = weight.shape
    sizes = (outs, ins * groups) if transposed else (ins * groups, outs)
    layer = kind(*sizes, tuple(kernel), groups=groups, bias=False, device="meta", **options)
    return _with(layer, weight, tensor(given.get("bias")))


def _linear(given: Mapping[str, Any], tensor: Callable[[Any], Any]) -> nn.Module:
    weight = tensor(given["weight"])
    return _with(
        nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta"),
        weight,
        tensor(given.get("bias")),
    )


def _with(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    _own(layer, "weight", weight)
    _own(layer, "bias", bias)
    return layer


def _own(module: nn.Module, name: str, values: Tensor | None) -> None:
    """Let a module have a tensor, which it trains only where it is a parameter."""
    delattr(module, name)
    if values is None or isinstance(values, nn.Parameter):
        module.register_parameter(name, values)
    else:
        module.register_buffer(name, values)


def _batch_norm(given: Mapping[str, Any], tensor: Callable[[Any], Any]) -> nn.Module:
    mean, variance = tensor(given.get("running_mean")), tensor(given.get("running_var"))
    if mean is None or variance is None:
        raise UsageError(
            "a BatchNorm without running statistics cannot be folded",
            hint="use track_running_stats=True",
        )
    weight, bias = tensor(given.get("weight")), tensor(given.get("bias"))
    kind = nn.BatchNorm2d if given.get("training") else HeldNorm
    norm = kind(
        len(mean), given.get("eps", 1e-5), given.get("momentum", 0.1), affine=weight is not None
    )
    norm.running_mean, norm.running_var = mean, variance
    if weight is not None:
        _own(norm, "weight", weight)
        _own(norm, "bias", torch.zeros_like(weight) if bias is None else bias)
    return norm


class HeldNorm(nn.BatchNorm2d):
    """A BatchNorm whose statistics are fixed, also in training."""

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """It takes no statistics of a batch, whatever the mode."""
        return super().train(False)


def _layer_norm(given: Mapping[str, Any], tensor: Callable[[Any], Any]) -> nn.Module:
    norm = nn.LayerNorm(given["normalized_shape"], given.get("eps", 1e-5), elementwise_affine=False)
    for name in ("weight", "bias"):
        values = tensor(given.get(name))
        setattr(
            norm,
            name,
            values
            if values is None or isinstance(values, nn.Parameter)
            else nn.Parameter(values, requires_grad=False),
        )
    return norm


def _dropout(given: Mapping[str, Any], _: Callable[[Any], Any]) -> nn.Module:
    return nn.Dropout(given.get("p", 0.5))


def _dropout_of_channels(given: Mapping[str, Any], _: Callable[[Any], Any]) -> nn.Module:
    return nn.Dropout2d(given.get("p", 0.5))


_BUILDERS: Mapping[Any, Callable[[Mapping[str, Any], Callable[[Any], Any]], nn.Module]] = {
    F.conv1d: partial(_convolution, nn.Conv1d),
    F.conv2d: partial(_convolution, nn.Conv2d),
    F.conv_transpose1d: partial(_convolution, nn.ConvTranspose1d, transposed=True),
    F.conv_transpose2d: partial(_convolution, nn.ConvTranspose2d, transposed=True),
    F.linear: _linear,
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.dropout: _dropout,
    F.dropout2d: _dropout_of_channels,
}
