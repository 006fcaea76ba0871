"""An artefact opened in a worker: the same session as in process, each call a message."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from edgeq.errors import TargetError
from edgeq.targets.common.io import enter_all, join, leave, readable
from edgeq.targets.common.session import SampleSession
from edgeq.targets.workers.boundary import grid_in_model_axes, in_model_axes, spec_of
from edgeq.targets.workers.wire import MAX_PAYLOAD
from edgeq.timing import Runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.target import Batch, TensorSpec
    from edgeq.targets.workers.boundary import Sendable
    from edgeq.targets.workers.process import Limits, Worker
    from edgeq.targets.workers.wire import Frame

TIMED_IN_WORKER = "timed inside the worker; the way there and back is left out"


class WorkerSession(SampleSession):
    """A model loaded in a worker.

    Args:
        worker: the process; the session owns it from here on.
        artefact: what to load.
        options: of the engine, ``threads`` and ``intermediates`` among them.
        limits: time and memory.
        readable: whether the target can show tensors inside the graph at all.

    Attributes:
        layers: what the runtime tells of each kernel, in the order of execution; empty where it
            tells nothing.

    Raises:
        ArtefactError: the model cannot be fed by edgeq.
        TargetError: the runtime refuses it, crashes, or answers with garbage.
    """

    def __init__(
        self,
        worker: Worker,
        artefact: Sendable,
        options: Mapping[str, object],
        limits: Limits,
        *,
        readable: bool = True,
    ) -> None:
        self._worker, self._artefact, self._limits = worker, artefact, limits
        content = np.frombuffer(artefact.content, np.uint8)
        loaded = worker.ask(
            "load",
            [content],
            seconds=limits.open_seconds,
            options=dict(options),
            memory_bytes=limits.memory_bytes,
        ).header
        self.inputs, self.outputs = self._ends(loaded)
        self.layers = _records(loaded.get("layers"))
        self.facts = {
            "place": worker.place,
            "latency": TIMED_IN_WORKER,
            **_texts(loaded.get("facts")),
        }
        self.grids = {}
        if options["intermediates"]:
            self.grids = self._inner_grids(loaded.get("grids"))
            self.unreadable = None
        elif not readable:
            self.unreadable = (
                "this runtime shows no tensors inside the graph",
                "use a target that does; edgeq targets NAME says which",
            )

    def _ends(self, loaded: Mapping[str, Any]) -> tuple[Any, Any]:
        inputs, outputs = loaded.get("inputs"), loaded.get("outputs")
        if not (isinstance(inputs, list) and inputs and isinstance(outputs, list) and outputs):
            raise TargetError(
                "the worker's model has no input, or no output", hint="its engine is broken"
            )
        names = [str(one.get("name")) if isinstance(one, dict) else "" for one in outputs]
        self._places = {name: names.index(name) for name in names}
        specs = [
            spec_of(
                one,
                self._artefact.grids,
                counts=True,
                batched=len(inputs) == 1,
                pixels=self._artefact.pixels,
            )
            for one in inputs
        ]
        last, usual = self._artefact.takes_channels_last, self._artefact.channels_last
        rows = self._artefact.rows
        entering = tuple(
            replace(spec, channels_last=last.get(spec.name, usual), rows=rows.get(spec.name, 0))
            for spec in specs
        )
        return entering, readable(
            [partial(spec_of, output, self._artefact.grids, counts=True) for output in outputs]
        )

    def _inner_grids(self, told: Any) -> dict[str, Any]:
        found = {
            str(name): grid_in_model_axes(str(name), each, self._artefact)
            for name, each in dict(told or {}).items()
        }
        return {name: params for name, params in found.items() if params is not None}

    def _computed(self, batch: Batch, specs: Sequence[TensorSpec]) -> list[NDArray[np.float32]]:
        """The first so many outputs: one message for a batch, an answer for each sample."""
        values = enter_all(batch, self.inputs)
        answers = self._worker.ask_each(
            "run",
            values,
            len(values[0]),
            seconds=self._limits.run_seconds,
            limit=sum(map(_bytes, specs)),
            outputs=[self._places[spec.name] for spec in specs],
            batched=[spec.batched for spec in self.inputs],
        )
        found = [self._checked(answer.arrays, specs) for answer in answers]
        return [
            leave(join(parts), spec)
            for parts, spec in zip(zip(*found, strict=True), specs, strict=True)
        ]

    def set_sample(self, sample: Sequence[NDArray[np.generic]]) -> None:
        """Send the inputs for the next run."""
        self._worker.ask("set", sample, seconds=self._limits.run_seconds)

    def invoke(self) -> None:
        """Compute the first output."""
        self._worker.ask("invoke", seconds=self._limits.run_seconds)

    def invoke_ns(self, budget_ns: int) -> Runs:
        """Run until a time is over, at least once, by the worker's own clocks.

        Args:
            budget_ns: how long, in ns.

        Returns:
            What the runs took, without the way to the worker and back.
        """
        seconds = self._limits.run_seconds + budget_ns / 1e9
        answer = self._worker.ask("time", seconds=seconds, limit=MAX_PAYLOAD, budget_ns=budget_ns)
        runs = runs_of(answer)
        if runs is None:
            self._garbage("durations that are none")
        return runs

    def get_output(self, index: int = 0) -> NDArray[np.generic]:
        """An output of the last run."""
        spec = self.outputs[index]
        answer = self._worker.ask(
            "get",
            seconds=self._limits.run_seconds,
            limit=_bytes(spec),
            outputs=[self._places[spec.name]],
        )
        return self._checked(answer.arrays, [spec])[0]

    def inspect(self, sample: Sequence[NDArray[np.generic]]) -> Mapping[str, NDArray[np.generic]]:
        """The readable tensors for one sample."""
        answer = self._worker.ask(
            "tensors", sample, seconds=self._limits.run_seconds, limit=MAX_PAYLOAD
        )
        names = answer.header.get("names")
        if not isinstance(names, list) or len(names) != len(answer.arrays):
            self._garbage("tensors without names")
        shown = dict(zip(map(str, names), answer.arrays, strict=True))
        return {name: in_model_axes(name, values, self._artefact) for name, values in shown.items()}

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def _checked(
        self, arrays: Sequence[NDArray[Any]], specs: Sequence[TensorSpec]
    ) -> Sequence[NDArray[Any]]:
        if len(arrays) != len(specs):
            self._garbage(f"{len(arrays)} arrays")
        for values, spec in zip(arrays, specs, strict=True):
            wanted = (1, *spec.shape)
            if values.shape != wanted or values.dtype != np.dtype(spec.dtype):
                self._garbage(
                    f"{values.dtype} {values.shape} where it announced {spec.dtype} {wanted}"
                )
            if values.dtype.kind == "f" and np.isnan(values).any():
                self._garbage(
                    "NaN",
                    hint="run it on another target: one that gives NaN too says that the model "
                    "computes it",
                )
        return arrays

    def _garbage(
        self,
        what: str,
        hint: str = "its engine or its runtime is broken; edgeq targets NAME runs its self-test",
    ) -> NoReturn:
        self._worker.close()
        raise TargetError(f"the worker on {self._worker.place} answers with {what}", hint=hint)


def runs_of(answer: Frame) -> Runs | None:
    """What a worker's answer says that its runs took; None where it says nothing of the kind."""
    arrays, processor = answer.arrays, answer.header.get("processor_ns")
    if (
        len(arrays) != 1
        or arrays[0].dtype != np.int64
        or arrays[0].ndim != 1
        or not arrays[0].size
        or (arrays[0] < 0).any()
    ):
        return None
    known = isinstance(processor, int) and processor >= 0
    return Runs([int(took) for took in arrays[0]], processor if known else None)


def _bytes(spec: TensorSpec) -> int:
    return int(np.prod(spec.shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize


def _texts(told: Any) -> dict[str, str]:
    return (
        {str(name): str(fact) for name, fact in told.items() if fact}
        if isinstance(told, dict)
        else {}
    )


def _records(told: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple(each for each in told if isinstance(each, dict)) if isinstance(told, list) else ()
