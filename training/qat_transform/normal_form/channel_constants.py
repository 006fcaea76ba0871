"""Arithmetic with per-channel constants, ``(x - mean) / std``, as a fixed normalisation.

So it goes where a BatchNorm goes: into the layer before it, or into a layer of its own whose only
rounding is that of its bias.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from edgeq.network.calls import name_of
from edgeq.training.qat_transform.axes.linear_as_conv1x1 import move_channels
from edgeq.training.qat_transform.normal_form.function_groups import ARITHMETIC
from edgeq.training.qat_transform.normal_form.functional_to_module import (
    HeldNorm,
    hand_over,
    unused_path,
)

_TRAINED = (operator.mul, operator.add)


class ChannelAffine(HeldNorm):
    """``weight * x + bias``, one of each for a channel.

    A BatchNorm of mean 0 and variance 1, also in training.

    Args:
        weight: float32, (channels,); trained where it is a parameter.
        bias: float32, (channels,); trained where it is a parameter.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__(len(weight), eps=0.0, affine=False)
        self.affine = True
        del self.weight, self.bias
        for name, values in (("weight", weight), ("bias", bias)):
            if isinstance(values, nn.Parameter):
                self.register_parameter(name, values)
            else:
                self.register_buffer(name, values)
        self.train(False)


def name_channel_constants(graph_module: fx.GraphModule) -> None:
    """Replace each chain of sums and products with per-channel constants by a ChannelAffine.

    Numbers in such a chain go into it too. A parameter that scales, or is added, is trained on as
    weight or bias. A buffer of one element becomes a number. Anything else is left as it is.

    Args:
        graph_module: methods are functions already; changed in place.
    """
    _Finder(graph_module).run()


@dataclass(frozen=True, slots=True)
class _Constant:
    """A number, or one for each channel.

    Attributes:
        values: float64, of shape () or (channels,).
        axis: that they lie along, 1 or -1; 0 for a number.
        rank: how many axes they have in the network.
    """

    values: Tensor
    axis: int = 0
    rank: int = 0

    def fits(self, source: fx.Node) -> bool:
        """Whether there is a number for each channel that a tensor has.

        For images that is taken for granted where nothing is known.
        """
        shape = source.meta.get("shape")
        if shape is None or self.rank > len(shape):
            return shape is None and self.axis >= 0
        return not self.axis or (
            (len(shape) == 4 or (self.axis < 0 and len(shape) in (2, 3)))
            and shape[self.axis] == len(self.values)
        )


@dataclass(frozen=True, slots=True)
class _Chain:
    """``weight * source + bias``, float64, of shape () or (channels,)."""

    source: fx.Node
    weight: Tensor
    bias: Tensor
    axis: int


class _Finder:
    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module, self.graph = graph_module, graph_module.graph
        self.values: dict[fx.Node, Tensor] = {}
        # a parameter with other axes, or as it is, to the node that reads it
        self.trained: dict[fx.Node, fx.Node] = {}
        self.chains: dict[fx.Node, _Chain] = {}
        self.extended: set[fx.Node] = set()
        # what a parameter has scaled, and none has moved yet; its axis
        self.scaled: dict[fx.Node, tuple[ChannelAffine, int]] = {}
        self.taken_over: list[str] = []

    def run(self) -> None:
        for node in list(self.graph.nodes):
            if (
                not self._evaluate(node)
                and node.target in ARITHMETIC
                and len(node.args) == 2
                and not node.kwargs
            ):
                self._visit(node)
        for node, chain in self.chains.items():
            if node not in self.extended and chain.axis:
                weight, bias = (
                    each.float().clone()
                    for each in torch.broadcast_tensors(chain.weight, chain.bias)
                )
                self._place(node, replace(chain, weight=weight, bias=bias))
        self.graph.eliminate_dead_code()
        hand_over(self.graph_module, self.taken_over)

    # -- constants ---------------------------------------------------------------------------------

    def _evaluate(self, node: fx.Node) -> bool:
        """Whether a node is a buffer, a parameter, or a parameter with other axes.

        Functions of buffers are buffers in a trace.
        """
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(self.graph_module)
            if isinstance(value, nn.Parameter):
                self.trained[node] = node
        elif (
            len(node.all_input_nodes) == 1
            and node.all_input_nodes[0] in self.trained
            and _moves_axes(node)
        ):
            args, kwargs = map_arg((node.args, node.kwargs), self.values.__getitem__)
            compute: Any = getattr(Tensor, name_of(node.target), node.target)
            value = compute(*args, **kwargs)
            self.trained[node] = self.trained[node.all_input_nodes[0]]
        else:
            return False
        if isinstance(value, Tensor):
            self.values[node] = value.detach()
        return node in self.values

    def _constant(self, argument: Any) -> _Constant | None:
        if isinstance(argument, int | float):
            return _Constant(torch.tensor(float(argument), dtype=torch.float64))
        value = self.values.get(argument) if isinstance(argument, fx.Node) else None
        if value is None or value.numel() == 1:
            return None if value is None else _Constant(value.double().reshape(()), rank=value.ndim)
        if value.shape[-1] == value.numel():
            return _Constant(value.double().reshape(-1), -1, value.ndim)
        of_images = value.ndim in (3, 4) and value.shape[-3] == value.numel()
        return _Constant(value.double().reshape(-1), 1, value.ndim) if of_images else None

    # -- chains ------------------------------------------------------------------------------------

    def _visit(self, node: fx.Node) -> None:
        constants = [self._constant(argument) for argument in node.args]
        at = 1 if constants[0] is None else 0
        argument, source, constant = node.args[at], node.args[1 - at], constants[at]
        if (
            constant is None
            or not isinstance(source, fx.Node)
            or source in self.values
            or not constant.fits(source)
        ):
            return
        if (
            isinstance(argument, fx.Node)
            and argument in self.trained
            and (node.target in _TRAINED or self._requires_grad(argument))
        ):
            self._train_on(node, source, argument, constant.axis)
            return
        if not constant.axis:
            node.update_arg(
                at, argument if isinstance(argument, int | float) else constant.values.item()
            )
        if (step := _step(node.target, constant.values, behind=at == 1)) is None:
            return
        chain = _Chain(source, *step, constant.axis)
        before = self.chains.get(source)
        if (
            before is not None
            and len(source.users) == 1
            and (not before.axis or before.axis == chain.axis or not chain.axis)
        ):
            chain = _Chain(
                before.source,
                step[0] * before.weight,
                step[0] * before.bias + step[1],
                chain.axis or before.axis,
            )
            self.extended.add(source)
        self.chains[node] = chain

    def _train_on(self, node: fx.Node, source: fx.Node, argument: fx.Node, axis: int) -> None:
        """A parameter that scales, or is added, becomes the weight or the bias.

        One of a single element, or that others read, is left.
        """
        root = self.trained[argument]
        if node.target not in _TRAINED or not axis or {len(root.users), len(argument.users)} != {1}:
            return
        own: nn.Parameter = operator.attrgetter(str(root.target))(self.graph_module)
        if self._is_tied(own):
            return
        parameter = (
            own
            if own.ndim == 1
            else nn.Parameter(own.detach().reshape(-1), requires_grad=own.requires_grad)
        )
        self.taken_over.append(str(root.target))
        scaled, scaled_axis = self.scaled.get(source, (None, 0))
        if node.target is operator.mul:
            made, end = self._place(
                node, _Chain(source, parameter, torch.zeros_like(parameter.detach()), axis)
            )
            self.scaled[end] = made, axis
        elif scaled is not None and scaled_axis == axis and len(source.users) == 1:
            scaled.bias = parameter
            del self.scaled[source]
            node.replace_all_uses_with(source)
        else:
            self._place(node, _Chain(source, torch.ones_like(parameter.detach()), parameter, axis))

    def _is_tied(self, parameter: nn.Parameter) -> bool:
        """Whether it goes by another name too, or belongs to a module that is called."""
        names = [
            name
            for name, each in self.graph_module.named_parameters(remove_duplicate=False)
            if each is parameter
        ]
        called = {str(node.target) for node in self.graph.nodes if node.op == "call_module"}
        return len(names) > 1 or names[0].rpartition(".")[0] in called

    def _requires_grad(self, argument: fx.Node) -> bool:
        return bool(
            operator.attrgetter(str(self.trained[argument].target))(self.graph_module).requires_grad
        )

    def _place(self, node: fx.Node, chain: _Chain) -> tuple[ChannelAffine, fx.Node]:
        """The module in the place of a node, and the node that ends what it computes."""
        path, made = (
            unused_path(self.graph_module, f"{node.name}_affine"),
            ChannelAffine(chain.weight, chain.bias),
        )
        self.graph_module.add_submodule(path, made)
        node.op, node.target, node.args, node.kwargs = "call_module", path, (chain.source,), {}
        return made, move_channels(self.graph, node) if chain.axis < 0 else node


def _moves_axes(node: fx.Node) -> bool:
    """Whether a node gives all numbers of a tensor other axes, in their order."""
    if node.target is not operator.getitem:
        return node.target in (torch.reshape, torch.unsqueeze)
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    return all(item is None or item is Ellipsis or item == slice(None) for item in index)


def _step(target: Any, constant: Tensor, *, behind: bool) -> tuple[Tensor, Tensor] | None:
    """Weight and bias of arithmetic with a constant on either side; None if it is not linear."""
    one, zero = torch.ones_like(constant), torch.zeros_like(constant)
    if target is operator.truediv:
        return (1 / constant, zero) if behind and bool((constant != 0).all()) else None
    if target is operator.sub:
        return (one, -constant) if behind else (-one, constant)
    return (one, constant) if target is operator.add else (constant, zero)
