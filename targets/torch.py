"""A checkpoint in PyTorch: as trained, with its fake quantisers, and with all rounding off, the FP32 reference."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeq.errors import ArtefactError, TargetError
from edgeq.loading import LOADERS
from edgeq.lowering import ActivationQuantizer
from edgeq.target import Availability, Capabilities, TensorSpec
from edgeq.targets._probe import Runtime, find, installed, probe, require_format
from edgeq.targets._session import SampleSession

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from edgeq.loading import LoadedModel

_RUNTIME = Runtime("torch", "torch")
_PREFIX = "quantizers."  # where insertion keeps its quantisers; what follows is the canonical name of the tensor


@dataclass(frozen=True, slots=True)
class TorchTarget:
    """PyTorch on the CPU.

    Attributes:
        capabilities: what it can run.
        rounding: whether weights and activations are rounded to their grids; clipping stays either way.
    """

    capabilities: Capabilities
    rounding: bool

    def probe(self) -> Availability:
        """Whether torch can be imported."""
        return probe([_RUNTIME])

    def open(self, artefact: Path, *, threads: int = 1, intermediates: bool = False) -> TorchSession:
        """Load a checkpoint; see :meth:`edgeq.target.Target.open`."""
        require_format(artefact, self.capabilities)
        find([_RUNTIME])
        model = LOADERS.load("checkpoint")(artefact, rounding=self.rounding)
        return TorchSession(model, rounding=self.rounding, threads=threads, intermediates=intermediates)


def _target(summary: str, *, rounding: bool) -> TorchTarget:
    return TorchTarget(
        Capabilities(
            formats=frozenset({"checkpoint"}),
            carriers=frozenset(),
            per_channel=True,
            intermediates=True,
            latency="measured",
            summary=summary,
        ),
        rounding,
    )


fake_quant = _target("PyTorch CPU, with the fake quantisers it was trained with", rounding=True)
float_reference = _target("PyTorch CPU, all rounding off: the FP32 reference", rounding=False)


class TorchSession(SampleSession):
    """A network opened in PyTorch.

    Its thread count is set around each call and put back after it, since torch has one for the whole process.
    """

    def __init__(self, model: LoadedModel, *, rounding: bool, threads: int, intermediates: bool) -> None:
        self._module = model.module
        self._threads = threads
        quantizers = {name: module for name, module in model.module.named_modules() if isinstance(module, ActivationQuantizer)}
        self.facts = {"rounding": "on" if rounding else "off", "quantisers": str(len(quantizers)), "torch": installed(_RUNTIME)}
        self.grids = {}
        if intermediates:
            self._recorder = _Hooks(quantizers) if quantizers else _Nodes(model.module)
            if rounding:
                self.grids = {_canonical(name): module.quant_params() for name, module in quantizers.items()}
            self.unreadable = None
        self.input = TensorSpec("input", tuple(model.input_shape), "float32")
        self.set_sample(np.zeros((1, *self.input.shape), np.float32))
        self.invoke()
        values = self.get_output()
        if values.ndim == 0 or values.shape[0] != 1:
            raise ArtefactError(f"the network's output has the shape {values.shape} for a batch of one", mend="give the output a batch dimension")
        self.output = TensorSpec("output", values.shape[1:], "float32")

    def set_sample(self, sample: NDArray[np.generic]) -> None:
        import torch

        self._sample = torch.from_numpy(sample)

    def invoke(self) -> None:
        with self._guard():
            self._result: torch.Tensor = self._module(self._sample)

    def get_output(self) -> NDArray[np.generic]:
        return self._result.numpy()

    def inspect(self, sample: NDArray[np.generic]) -> Mapping[str, NDArray[np.generic]]:
        self.set_sample(sample)
        with self._guard():
            values = self._recorder.record(self._module, self._sample)
        return {name: self.grids[name].quantize(value) if name in self.grids else value for name, value in values.items()}

    @contextmanager
    def _guard(self) -> Iterator[None]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                yield
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            what = str(error).strip().split("\n", 1)[0]
            raise TargetError(f"the network failed in PyTorch: {what}", mend="does it fit the checkpoint's input shape?") from error
        finally:
            torch.set_num_threads(before)

    def close(self) -> None:
        del self._module


def _canonical(name: str) -> str:
    return name.removeprefix(_PREFIX)


class _Hooks:
    """Records what every activation quantiser gives."""

    def __init__(self, quantizers: Mapping[str, ActivationQuantizer]) -> None:
        self._quantizers = quantizers

    def record(self, module: torch.nn.Module, sample: torch.Tensor) -> dict[str, NDArray[np.float32]]:
        seen: dict[str, NDArray[np.float32]] = {}
        handles = [cast("torch.nn.Module", q).register_forward_hook(_keeper(seen, _canonical(name))) for name, q in self._quantizers.items()]
        try:
            module(sample)
        finally:
            for handle in handles:
                handle.remove()
        return seen


def _keeper(seen: dict[str, NDArray[np.float32]], name: str) -> Any:
    def keep(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        if name in seen:
            raise TargetError(
                f"the quantiser {name!r} is called more than once, so its name means several tensors", mend="give each call a quantiser"
            )
        seen[name] = output.numpy().copy()

    return keep


class _Nodes:
    """Records what every node of a float network's traced graph gives."""

    def __init__(self, module: torch.nn.Module) -> None:
        import torch.fx

        try:
            self._graph = torch.fx.symbolic_trace(module)
        except Exception as error:  # noqa: BLE001  tracing runs the network's own code
            what = str(error).strip().split("\n", 1)[0]
            raise TargetError(f"the network cannot be traced, so its tensors have no names: {what}", mend="keep control flow out of forward") from error

    def record(self, _module: torch.nn.Module, sample: torch.Tensor) -> dict[str, NDArray[np.float32]]:
        import torch.fx

        seen: dict[str, NDArray[np.float32]] = {}

        class Recorder(torch.fx.Interpreter):
            def run_node(self, n: torch.fx.Node) -> Any:
                value = super().run_node(n)
                if n.op not in ("get_attr", "output") and isinstance(value, torch.Tensor) and value.is_floating_point():
                    seen[n.name] = value.numpy().copy()
                return value

        Recorder(self._graph).run(sample)
        return seen
