"""From a module of anybody's to a graph of its operators, with ``torch.fx``.

A network is traced as it computes in evaluation, so what only training computes, such as an
auxiliary head, is left out. Drop-out and stochastic depth stay: they are modules that compute
nothing in evaluation. With an example of the input, sizes are numbers while tracing, and control
flow that depends on them is followed.
"""

from __future__ import annotations

import copy
import inspect
import operator
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.fx.proxy import Attribute

from edgeq.errors import UsageError, first_line
from edgeq.network.layer_protocols import ConstrainedNorm, Inactive, IntegerLayer
from edgeq.training.qat_transform.in_training import settle_by_training
from edgeq.training.qat_transform.inlined import INLINED, NORMS
from edgeq.training.qat_transform.normal_form.canonical import canonicalize
from edgeq.training.qat_transform.normal_form.channel_constants import ChannelAffine
from edgeq.training.qat_transform.normal_form.functional_to_module import HeldNorm
from edgeq.training.qat_transform.normal_form.in_place import nothing_in_place
from edgeq.training.qat_transform.only_in_training import OnlyInTraining, only_in_training
from edgeq.training.qat_transform.stopping import stop_gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_DIVIDING = (
    "chunk",
    "split",
    "unbind",
    "tensor_split",
    torch.chunk,
    torch.split,
    torch.unbind,
    torch.tensor_split,
)
# samples while tracing; a size that equals it is taken for the batch's only where the batch stands
BATCH = 3


def trace(
    model: nn.Module,
    example: Tensor | Sequence[Tensor] | None = None,
    *,
    norms_in_integers: bool = False,
) -> fx.GraphModule:
    """The network as a graph of canonical operators, whose node names come from its module paths.

    Parameters and buffers are the network's own, not copies.

    Args:
        model: the network.
        example: of its input or inputs, with a batch dimension; only its shape and dtype count.
            Needed where the forward depends on sizes.
        norms_in_integers: whether LayerNorms are written in operators that integer kernels have,
            which needs an example.

    Raises:
        UsageError: ``torch.fx`` cannot follow it.
    """
    examples = (
        None
        if example is None
        else [as_batch(each) for each in ([example] if isinstance(example, Tensor) else example)]
    )
    modes = {path: module.training for path, module in model.named_modules(remove_duplicate=False)}
    try:
        inlined = {**INLINED, **NORMS} if norms_in_integers else INLINED
        graph_module, held = _traced(model.eval(), examples, inlined)
        held = settle_by_training(
            graph_module, held, model, lambda twin: _traced(twin, examples, inlined)
        )
        nothing_in_place(graph_module, held)
        stop_gradients(graph_module, held)
        canonicalize(graph_module, BATCH, norms_in_integers=norms_in_integers)
        _set_modes(graph_module, modes)
    except UsageError:
        raise
    except Exception as error:  # whatever a user's forward raises under tracing
        raise _untraceable(model, examples, error) from error
    finally:
        _set_modes(model, modes)
    return graph_module


def _set_modes(model: nn.Module, modes: Mapping[str, bool]) -> None:
    """Each module is in the mode that its path had, or else that of the module around it."""
    for path, module in model.named_modules(remove_duplicate=False):
        around = path
        while around not in modes:
            around = around.rpartition(".")[0]
        if not isinstance(module, HeldNorm):
            module.training = modes[around]


def _traced(
    model: nn.Module, examples: list[Tensor] | None, inlined: Mapping[type[nn.Module], Any]
) -> tuple[fx.GraphModule, set[fx.Node]]:
    """The graph as torch.fx finds it, and its nodes that were traced without gradients."""
    inactive = only_in_training(model)
    tracer = _Tracer(frozenset(inactive), examples, inlined)
    with torch.enable_grad(), _refusing_own_gradients():
        graph = tracer.trace(
            model, concrete_args=_defaults(model, 1 if examples is None else len(examples))
        )
    graph_module = fx.GraphModule(tracer.root, graph, type(model).__name__)
    used = {str(node.target) for node in graph.nodes if node.op == "call_module"}
    for path in used & inactive.keys():
        graph_module.set_submodule(
            path, OnlyInTraining(model.get_submodule(path), in_place=inactive[path])
        )
    return graph_module, tracer.held


@contextmanager
def _refusing_own_gradients() -> Iterator[None]:
    """Refuse an autograd.Function: a trace follows its forward and would lose its gradient."""
    own = torch.autograd.Function.__dict__["apply"]

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(argument, fx.Proxy) for argument in (*args, *kwargs.values())):
            raise UsageError(
                f"the network computes {cls.__name__}, which has a gradient of its own, "
                "and that would be lost",
                hint="compute it of torch's functions; x.detach() stops a gradient here as "
                "everywhere",
            )
        return own.__get__(None, cls)(*args, **kwargs)

    kind: Any = torch.autograd.Function
    kind.apply = classmethod(apply)
    try:
        yield
    finally:
        kind.apply = own


def as_batch(example: Tensor) -> Tensor:
    """Some samples of the example's shape; the numbers do not matter."""
    if not isinstance(example, Tensor) or not example.ndim:
        raise UsageError(
            f"the example is a {type(example).__name__}, not a batch",
            hint="give a tensor with a batch dimension",
        )
    return example.detach()[:1].expand(BATCH, *example.shape[1:]).clone()


def _defaults(model: nn.Module, inputs: int) -> dict[str, Any]:
    """Parameters of ``forward`` beyond the inputs that have a default keep it."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    return {
        each.name: each.default
        for each in parameters[inputs:]
        if each.default is not inspect.Parameter.empty
    }


def _untraceable(model: nn.Module, examples: list[Tensor] | None, error: Exception) -> UsageError:
    reason = None if examples is None else _why_unreadable(model, examples)
    if examples is not None and reason is not None:
        shapes = " and ".join(
            f"({', '.join(['batch', *map(str, each.shape[1:])])})" for each in examples
        )
        return UsageError(
            f"{type(model).__name__} cannot read an example of {shapes}: {reason}",
            hint="give it as the network's forward takes it, a batch in front, and one for "
            "each input",
        )
    return UsageError(
        f"torch.fx cannot trace {type(model).__name__}: {first_line(error)}",
        hint=_hint(examples is None),
    )


def _why_unreadable(model: nn.Module, examples: list[Tensor]) -> str | None:
    """What goes wrong without any tracing; None where nothing does."""
    try:
        with torch.no_grad():
            copy.deepcopy(model)(*examples)
    except Exception as error:  # noqa: BLE001  # whatever a user's forward raises
        return first_line(error)
    return None


def _hint(without_example: bool) -> str:
    advice = "make its forward free of control flow that depends on tensor values"
    return (
        f"{advice}; where it depends on sizes, give an example of the input too"
        if without_example
        else advice
    )


class _Proxy(fx.Proxy):
    """Stands for a tensor; where the tracer knows an example, sizes are numbers."""

    tracer: _Tracer

    @property
    def shape(self) -> Any:
        value = self.tracer.value_of(self.node)
        return value.shape if isinstance(value, Tensor) else Attribute(self, "shape")

    @property
    def device(self) -> Any:
        value = self.tracer.value_of(self.node)
        return value.device if isinstance(value, Tensor) else Attribute(self, "device")

    @property
    def dtype(self) -> Any:
        value = self.tracer.value_of(self.node)
        return value.dtype if isinstance(value, Tensor) else Attribute(self, "dtype")

    @property
    def ndim(self) -> Any:
        value = self.tracer.value_of(self.node)
        return value.ndim if isinstance(value, Tensor) else Attribute(self, "ndim")

    def size(self, *dim: int) -> Any:
        value = self.tracer.value_of(self.node)
        return (
            value.size(*dim)
            if isinstance(value, Tensor)
            else self.tracer.create_proxy("call_method", "size", (self, *dim), {})
        )

    def dim(self) -> Any:
        value = self.tracer.value_of(self.node)
        return (
            value.ndim
            if isinstance(value, Tensor)
            else self.tracer.create_proxy("call_method", "dim", (self,), {})
        )

    def __len__(self) -> int:
        value = self.tracer.value_of(self.node)
        return len(value) if isinstance(value, Tensor | tuple | list) else super().__len__()

    def __iadd__(self, other: Any) -> Any:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._in_place(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._in_place(operator.itruediv, other)

    def _in_place(self, target: Callable[..., Any], other: Any) -> Any:
        return self.tracer.create_proxy("call_function", target, (self, other), {})


class _Tracer(fx.Tracer):
    # unpickling gives none
    def __init__(
        self,
        leaves: frozenset[str] = frozenset(),
        examples: list[Tensor] | None = None,
        inlined: Mapping[type[nn.Module], Callable[..., Any]] = INLINED,
    ) -> None:
        super().__init__()
        self._leaves, self._inlined = leaves, inlined
        self._examples = None if examples is None else list(examples)
        self._values: dict[fx.Node, Any] = {}
        self._evaluating = False
        self.held: set[fx.Node] = set()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # whatever its forward is, its numbers are its own affair
        if isinstance(m, IntegerLayer | Inactive | ChannelAffine | ConstrainedNorm):
            return True
        return module_qualified_name in self._leaves or super().is_leaf_module(
            m, module_qualified_name
        )

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def value_of(self, node: fx.Node) -> Any:
        """What a node is for the example; None without one."""
        return self._values.get(node)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The parts of what was divided, where the example tells how many there are."""
        value = self.value_of(obj.node)
        if isinstance(value, tuple | list):
            whole: Any = obj
            return (whole[part] for part in range(len(value)))
        if isinstance(value, Tensor):
            raise UsageError(
                f"the network takes {obj.node.name} apart, sample by sample",
                hint="compute with the batch as a whole",
            )
        if obj.node.target in _DIVIDING:
            raise UsageError(
                f"the network asks {obj.node.name} how many parts it has",
                hint="give an example of the input to edgeq.quantize",
            )
        return super().iter(obj)

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        proxy = super().create_proxy(*args, **kwargs)
        if isinstance(proxy, fx.Proxy) and not torch.is_grad_enabled():
            self.held.add(proxy.node)
        if self._examples is not None and isinstance(proxy, fx.Proxy):
            self._evaluate(proxy.node)
        return proxy

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return (
            attr_val if self._evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)
        )

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self._evaluating:
            return forward(*args, **kwargs)
        if type(m) in self._inlined:
            return self._inlined[type(m)](m, *args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def _evaluate(self, node: fx.Node) -> None:
        self._evaluating = True
        try:
            with torch.no_grad(), warnings.catch_warnings(action="ignore"):
                value = self._values[node] = self._computed(node)
        finally:
            self._evaluating = False
        if isinstance(value, Tensor):
            node.meta["shape"] = tuple(value.shape)

    def _value(self, node: fx.Node) -> Any:
        if node not in self._values:  # a parameter or buffer, which gets its node without a proxy
            self._values[node] = self._computed(node)
        return self._values[node]

    def _computed(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return (
                self._examples.pop(0) if self._examples else (node.args[0] if node.args else None)
            )
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.root)
        args, kwargs = map_arg((node.args, node.kwargs), self._value)
        target: Any = node.target
        if node.op == "call_module":
            return self.root.get_submodule(target).forward(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        return None if node.op == "output" else target(*args, **kwargs)
