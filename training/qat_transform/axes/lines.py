"""Convolutions, pooling and normalisation of lines, as those of images of one row.

Files and integer kernels have images; a line of (channels, length) is one of (channels, 1, length).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import fx, nn
from torch.nn import functional as F

from edgeq.network.calls import argument
from edgeq.training.qat_transform.axes.linear_as_conv1x1 import ignores_axes
from edgeq.training.qat_transform.axes.reshaping import reshaped
from edgeq.training.qat_transform.axes.shaped import shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NORM_OPTIONS = ("eps", "momentum", "affine", "track_running_stats")
_WINDOW = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad")


def lines_as_images(graph_module: fx.GraphModule) -> None:
    """Rewrite a graph in place.

    The kernels are trained on under the name that they had, with an axis more.

    Args:
        graph_module: layers are modules already.

    Raises:
        UsageError: there is one of them, and no example has told any sizes.
    """
    _Writer(graph_module).run()


def norm_of_images(features: Any) -> nn.BatchNorm2d:
    """A BatchNorm1d as BatchNorm2d, with the tensors of the network's own."""
    options = {name: getattr(features, name) for name in _NORM_OPTIONS}
    norm = nn.BatchNorm2d(features.num_features, device="meta", **options)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(norm, name, getattr(features, name))
    return norm.train(features.training)


class _Writer:
    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module, self.graph = graph_module, graph_module.graph
        self.kernels: dict[nn.Parameter, nn.Parameter] = {}
        self.made: dict[str, nn.Module] = {}

    def run(self) -> None:
        ends = []
        for node in list(self.graph.nodes):
            if node.op == "call_module" and self._as_module(node):
                ends.append(self._between_reshapes(node))
            elif node.op == "call_function" and node.target in _FUNCTIONS:
                ends.append(self._between_reshapes(node))
                _FUNCTIONS[node.target](node)
        for path, module in self.made.items():
            self.graph_module.set_submodule(path, module)
        for end in ends:
            self._behind_functions(end)

    def _as_module(self, node: fx.Node) -> bool:
        """Whether a module is one of lines; it is replaced by one of images when all are found."""
        module: Any = self.graph_module.get_submodule(str(node.target))
        path = str(node.target)
        if path in self.made:
            return True
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            self.made[path] = self._convolution(module)
        elif isinstance(module, nn.BatchNorm1d) and len(node.meta.get("shape", ())) == 3:
            self.made[path] = norm_of_images(module)
        elif type(module) in _POOLS:
            self.made[path] = _POOLS[type(module)](module)
        return path in self.made

    def _convolution(self, layer: Any) -> nn.Module:
        """The same convolution, of rows."""
        options: dict[str, Any] = {
            "stride": (1, layer.stride[0]),
            "padding": layer.padding if isinstance(layer.padding, str) else (0, layer.padding[0]),
            "dilation": (1, layer.dilation[0]),
            "groups": layer.groups,
            "padding_mode": layer.padding_mode,
        }
        kind: type[nn.Conv2d | nn.ConvTranspose2d] = nn.Conv2d
        if isinstance(layer, nn.ConvTranspose1d):
            kind, options["output_padding"] = nn.ConvTranspose2d, (0, layer.output_padding[0])
        sizes = (layer.in_channels, layer.out_channels, (1, layer.kernel_size[0]))
        twin = kind(*sizes, bias=False, device="meta", **options)
        own: Any = layer.weight
        if own not in self.kernels:
            rows = own.detach()[:, :, None]
            self.kernels[own] = nn.Parameter(rows, requires_grad=own.requires_grad)
        twin.weight, twin.bias = self.kernels[own], layer.bias
        return twin.train(layer.training)

    def _between_reshapes(self, node: fx.Node) -> fx.Node:
        """A row in front of the length, and away behind it; gives the end."""
        readers, source = list(node.users), node.all_input_nodes[0]
        (batch, channels, length), made = shape_of(source), shape_of(node)
        with self.graph.inserting_before(node):
            image = reshaped(self.graph, source, (batch, channels, 1, length))
            node.replace_input_with(source, image)
        node.meta["shape"] = (batch, made[1], 1, made[2])
        with self.graph.inserting_before(node.next):
            end = reshaped(self.graph, node, made)
        for reader in readers:
            reader.replace_input_with(node, end)
        return end

    def _behind_functions(self, end: fx.Node) -> None:
        """Move the end of a row behind the functions of single numbers that alone read it.

        So that a ReLU stays with its layer.
        """
        image, line = end.all_input_nodes[0].all_input_nodes[0], end.meta["shape"]
        reader = next(iter(end.users), None)
        while (
            reader is not None and len(end.users) == 1 and ignores_axes(self.graph_module, reader)
        ):
            after = list(reader.users)
            reader.replace_input_with(end, image)
            reader.meta["shape"] = image.meta["shape"]
            with self.graph.inserting_before(reader.next):
                end = reshaped(self.graph, reader, line)
            for each in after:
                each.replace_input_with(reader, end)
            image, reader = reader, next(iter(end.users), None)


def _row(size: Any, other: int) -> tuple[int, int]:
    return (other, size if isinstance(size, int) else size[0])


def _pool(kind: Any) -> Callable[[Any], nn.Module]:
    def build(module: Any) -> nn.Module:
        given = {name: vars(module)[name] for name in _WINDOW if name in vars(module)}
        pool: nn.Module = kind(**_of_rows(given))
        return pool

    return build


def _of_rows(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a pooling of lines as those of a pooling of images."""
    around = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
    return {
        name: _row(value, around[name]) if name in around and value is not None else value
        for name, value in given.items()
    }


def _adaptive(kind: Any) -> Callable[[Any], nn.Module]:
    return lambda module: kind(_row(module.output_size, 1))


def _pooled(function: Any, names: tuple[str, ...]) -> Callable[[fx.Node], None]:
    def rewrite(node: fx.Node) -> None:
        given = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
        node.target, node.args, node.kwargs = function, node.args[:1], _of_rows(given)

    return rewrite


def _adapted(function: Any) -> Callable[[fx.Node], None]:
    def rewrite(node: fx.Node) -> None:
        size = _row(argument(node, 1, "output_size"), 1)
        node.target, node.args, node.kwargs = function, (node.args[0], size), {}

    return rewrite


_POOLS: Mapping[type, Callable[[Any], nn.Module]] = {
    nn.MaxPool1d: _pool(nn.MaxPool2d),
    nn.AvgPool1d: _pool(nn.AvgPool2d),
    nn.AdaptiveAvgPool1d: _adaptive(nn.AdaptiveAvgPool2d),
    nn.AdaptiveMaxPool1d: _adaptive(nn.AdaptiveMaxPool2d),
}
_FUNCTIONS: Mapping[Any, Callable[[fx.Node], None]] = {
    F.max_pool1d: _pooled(
        F.max_pool2d, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    ),
    F.avg_pool1d: _pooled(
        F.avg_pool2d, ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    ),
    F.adaptive_avg_pool1d: _adapted(F.adaptive_avg_pool2d),
    F.adaptive_max_pool1d: _adapted(F.adaptive_max_pool2d),
}
