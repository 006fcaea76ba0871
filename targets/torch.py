"""A checkpoint in PyTorch.

As trained, with its fake quantisers, and with all rounding off, the FP32 reference.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.errors import ArtefactError, TargetError, first_line
from edgeq.network.layer_protocols import (
    ActivationQuantizer,
    ConstrainedNorm,
    FixableLayer,
    IntegerLayer,
)
from edgeq.network.loading import LOADERS
from edgeq.network.rows import rows_of_inputs
from edgeq.target import Availability, Capabilities, ChainLink, TensorSpec
from edgeq.targets.common.io import zeros
from edgeq.targets.common.probe import Runtime, find, installed, probe, require_format
from edgeq.targets.common.session import SampleSession

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from edgeq.network.loading import LoadedModel
    from edgeq.quant import QuantParams

_RUNTIME = Runtime("torch", "torch")
_SUFFIX = "_quantized"  # what a graph node that quantises the tensor t is called: t_quantized
_PREFIX = "quantizers."  # where quantisers are kept


@dataclass(frozen=True, slots=True)
class TorchTarget:
    """PyTorch on the CPU.

    Attributes:
        capabilities: what it can run.
        rounding: whether weights and activations are rounded to their grids; clipping stays either
            way.
    """

    capabilities: Capabilities
    rounding: bool

    def probe(self) -> Availability:
        """Whether torch can be imported."""
        return probe([_RUNTIME])

    def open(
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> TorchSession:
        """Load a checkpoint; see :meth:`edgeq.target.Target.open`."""
        require_format(artefact, self.capabilities)
        find([_RUNTIME])
        model = LOADERS.load("checkpoint")(artefact, rounding=self.rounding)
        return TorchSession(
            model, rounding=self.rounding, threads=threads, intermediates=intermediates
        )


def _target(summary: str, *, rounding: bool) -> TorchTarget:
    return TorchTarget(
        Capabilities(
            formats=frozenset({"checkpoint"}),
            storage_dtypes=frozenset(),
            per_channel=True,
            intermediates=True,
            latency="measured",
            summary=summary,
            link=ChainLink(10, ("quantisation",)) if rounding else ChainLink(0, ()),
        ),
        rounding,
    )


fake_quant = _target("PyTorch CPU, with the fake quantisers it was trained with", rounding=True)
float_reference = _target("PyTorch CPU, all rounding off: the FP32 reference", rounding=False)


class TorchSession(SampleSession):
    """A network opened in PyTorch, its layers' weights made once.

    Its thread count is set around each call and put back after it, since torch has one for the
    whole process.
    """

    def __init__(
        self, model: LoadedModel, *, rounding: bool, threads: int, intermediates: bool
    ) -> None:
        self._module = model.module
        self._threads = threads
        quantizers = sum(
            isinstance(module, ActivationQuantizer) for module in model.module.modules()
        )
        with self._guard():
            _fix(model.module)
        self.facts = {
            "rounding": "on" if rounding else "off",
            "quantisers": str(quantizers),
            "torch": installed(_RUNTIME),
        }
        self.grids = {}
        if intermediates:
            self._recorder = _Recorder(model.module)
            self.grids = self._recorder.grids if rounding else {}
            self.unreadable = None
        self.inputs = (_input(model),)
        self.set_sample(zeros(self.inputs))
        self.invoke()
        values = self.get_output()
        if values.ndim == 0 or values.shape[0] != 1:
            raise ArtefactError(
                f"the network's output has the shape {values.shape} for a batch of one",
                hint="give the output a batch dimension",
            )
        self.outputs = tuple(
            TensorSpec(
                "output" if number == 1 else f"output_{number}", tuple(one.shape[1:]), "float32"
            )
            for number, one in enumerate(self._results, start=1)
            if one.ndim and one.shape[0] == 1
        )

    def set_sample(self, sample: Sequence[NDArray[np.generic]]) -> None:
        """Keep the input for the next run."""
        import torch

        self._sample = torch.tensor(sample[0])

    def invoke(self) -> None:
        """Compute the first output."""
        with self._guard():
            self._results = _leaves(self._module(self._sample))

    def get_output(self, index: int = 0) -> NDArray[np.generic]:
        """An output of the last run."""
        return self._results[index].numpy()

    def inspect(self, sample: Sequence[NDArray[np.generic]]) -> Mapping[str, NDArray[np.generic]]:
        """The readable tensors for one sample."""
        self.set_sample(sample)
        with self._guard():
            values = self._recorder.record(self._sample)
        return {
            name: self.grids[name].quantize(value) if name in self.grids else value
            for name, value in values.items()
        }

    @contextmanager
    def _guard(self) -> Iterator[None]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                yield
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise TargetError(
                f"the network failed in PyTorch: {first_line(error)}",
                hint="does it fit the checkpoint's input shape?",
            ) from error
        finally:
            torch.set_num_threads(before)

    def close(self) -> None:
        """Free the session."""
        del self._module


def _leaves(answer: Any) -> list[torch.Tensor]:
    """The tensors of what a network returns, in its order; an export has them in the same one."""
    import torch

    if isinstance(answer, torch.Tensor):
        return [answer]
    values = answer.values() if isinstance(answer, dict) else answer
    return [tensor for value in values for tensor in _leaves(value)]


def _fix(module: torch.nn.Module) -> None:
    """Put a fixed layer in the place of each that can give one.

    One that has several paths is fixed once.
    """
    found = [
        (path, layer)
        for path, layer in module.named_modules(remove_duplicate=False)
        if path and isinstance(layer, FixableLayer)
    ]
    fixed = {
        layer: layer.with_fixed_weights() for layer in dict.fromkeys(layer for _, layer in found)
    }
    for path, layer in found:
        module.set_submodule(path, fixed[layer])


def _input(model: LoadedModel) -> TensorSpec:
    """What the network reads: real numbers, or whole ones that pick rows of a table."""
    from torch import fx

    network = model.module
    found = rows_of_inputs(network) if isinstance(network, fx.GraphModule) else {}
    rows = next(iter(found.values()), 0)
    dtype = "int64" if rows else "float32"
    return TensorSpec("input", tuple(model.input_shape), dtype, rows=rows)


class _Recorder:
    """Runs the network's graph node by node and keeps what has a name outside.

    Quantised tensors, or all of a float network's.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        import torch.fx

        graph = module if isinstance(module, torch.fx.GraphModule) else _trace(module)
        self._graph = graph
        self.grids: dict[str, QuantParams] = {}
        self._names: dict[str, str] = {}
        for node in graph.graph.nodes:
            quantizer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
            if isinstance(quantizer, ActivationQuantizer):
                name = _tensor_name(node, self.grids)
                self._names[node.name], self.grids[name] = name, quantizer.quant_params()
        if not self.grids:
            self._names = {
                node.name: node.name
                for node in graph.graph.nodes
                if node.op not in ("get_attr", "output")
            }

    def record(self, sample: torch.Tensor) -> dict[str, NDArray[np.float32]]:
        import torch.fx

        names, seen = self._names, dict[str, "NDArray[np.float32]"]()

        class Keeping(torch.fx.Interpreter):
            def run_node(self, n: torch.fx.Node) -> Any:
                value = super().run_node(n)
                if (
                    n.name in names
                    and isinstance(value, torch.Tensor)
                    and value.is_floating_point()
                ):
                    seen[names[n.name]] = value.numpy().copy()  # later nodes may write into it
                return value

        Keeping(self._graph).run(sample)
        return seen


def _trace(module: torch.nn.Module) -> torch.fx.GraphModule:
    """The network as a graph, its quantisers kept whole."""
    import torch.fx

    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
            kept = isinstance(m, ActivationQuantizer | ConstrainedNorm | IntegerLayer)
            return kept or super().is_leaf_module(m, module_qualified_name)

    try:
        return torch.fx.GraphModule(module, Tracer().trace(module))
    except Exception as error:  # tracing runs the network's own code
        raise TargetError(
            f"the network cannot be traced, so its tensors have no names: {first_line(error)}",
            hint="keep control flow out of forward",
        ) from error


def _tensor_name(node: torch.fx.Node, taken: Container[str]) -> str:
    """The name that an exported file gives the tensor.

    By the quantiser's path where the graph was made by hand.
    """
    if node.name.endswith(_SUFFIX):
        return node.name.removesuffix(_SUFFIX)
    name = str(node.target).removeprefix(_PREFIX)
    return node.name if name in taken else name
