"""A program with its batches.

Samples go through it many at a time, because integers do not care who their neighbours are.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch

from edgeq.errors import ArtefactError, TargetError
from edgeq.quant import QuantizedTensor
from edgeq.target import Batch, TensorSpec
from edgeq.targets.common.io import enter_all, leave, readable, require_one
from edgeq.targets.emulator.hardware.costs import layer_cost, total
from edgeq.targets.emulator.hardware.host_fallback import on_hardware
from edgeq.targets.emulator.program import Log, OverflowStats
from edgeq.targets.emulator.replay import Recording, operators_of, replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.diffing.replay import Operator, Recorded, Replayed
    from edgeq.target import Answers, Shown
    from edgeq.targets.emulator.hardware.machine import HardwareProfile
    from edgeq.targets.emulator.program import LayerWorkload, Program, ProgramStep, Slot

# of the largest tensor: 4 MiB; measured, fewer cost more calls, and more leave the cache
_ELEMENTS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One step of a program after it ran.

    Attributes:
        work: what it costs a machine, for one sample.
        stats: what happened to its sums, over all samples since the session was opened.
    """

    work: LayerWorkload
    stats: OverflowStats


class EmulatorSession:
    """A model opened in the emulator.

    Attributes:
        inputs: the inputs, in the file's order.
        outputs: the outputs, the first one in front.
        facts: what really runs.
        profile: the machine.
    """

    def __init__(
        self, program: Program, profile: HardwareProfile, *, threads: int, intermediates: bool
    ) -> None:
        self._program, self._threads, self._intermediates = program, threads, intermediates
        self._freed = program.last_uses()
        self._log = Log()
        self._prepared: Mapping[int, Tensor] | None = None
        self.profile = profile
        alone = len(program.input_slots) == 1
        self.inputs = tuple(
            replace(
                _spec(program.slots[slot], batched=alone),
                channels_last=slot in program.channels_last,
            )
            for slot in program.input_slots
        )
        specs = [partial(_spec, program.slots[slot]) for slot in program.output_slots]
        self.outputs = readable(specs)
        self.facts: Mapping[str, str] = {
            "profile": profile.name,
            "arithmetic": profile.summary,
            "torch": torch.__version__,
        }
        largest = max(math.prod(slot.shape) for slot in program.slots)
        self._at_once = max(1, _ELEMENTS_AT_ONCE // largest)

    @property
    def output(self) -> TensorSpec:
        """The first output."""
        return self.outputs[0]

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Compute the first output for a batch; see :meth:`edgeq.target.Session.run`."""
        return self.run_all(batch)[self.output.name]

    def run_all(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Compute all outputs; see :meth:`edgeq.target.Session.run_all`."""
        return self._run(batch, {})[0]

    def run_and_show(self, batch: Batch) -> tuple[Answers, Shown]:
        """Both in one run; see :meth:`edgeq.target.ShowingSession.run_and_show`."""
        return self._run(batch, self._shown())

    def tensors(self, batch: Batch) -> Shown:
        """Every tensor for a batch; see :meth:`edgeq.target.Session.tensors`.

        Raises:
            TargetError: the artefact was opened without intermediates.
        """
        return self._run(batch, self._shown())[1]

    def _shown(self) -> dict[int, Slot]:
        if not self._intermediates:
            raise TargetError(
                "the artefact was opened without intermediates",
                hint="open it with intermediates=True",
            )
        return {i: slot for i, slot in enumerate(self._program.slots) if slot.shown}

    def _run(self, batch: Batch, slots: Mapping[int, Slot]) -> tuple[Answers, Shown]:
        """The outputs, and the tensors in some slots, of one run."""
        places = {self._program.slots[slot].name: slot for slot in self._program.output_slots}
        found: dict[str, list[NDArray[Any]]] = {spec.name: [] for spec in self.outputs}
        seen: dict[int, list[NDArray[Any]]] = {i: [] for i in slots}
        for part in self._parts(batch):
            values = self._values(part, keep=slots)
            for name, parts in found.items():
                parts.append(self._stored(places[name], values[places[name]]))
            for i, slot in slots.items():
                seen[i].append(_upright(slot, self._stored(i, values[i])))
        answers = {
            spec.name: leave(np.concatenate(found[spec.name]), spec) for spec in self.outputs
        }
        shown = {i: _with_grid(slot, np.concatenate(seen[i])) for i, slot in slots.items()}
        return answers, {name: shown[i] for i, slot in slots.items() for name in slot.shown}

    def prepare(self, batch: Batch) -> None:
        """Set one sample for :meth:`invoke`.

        Raises:
            ArtefactError: the batch does not fit, or holds more than one sample.
        """
        require_one(batch)
        self._prepared = next(self._parts(batch))

    def invoke(self) -> None:
        """Run once on what :meth:`prepare` set.

        Raises:
            TargetError: nothing was set.
        """
        if self._prepared is None:
            raise TargetError("no input was set", hint="call prepare first")
        self._values(self._prepared)

    def layers(self) -> tuple[LayerReport, ...]:
        """Every step, with what happened in it since the session was opened."""
        return tuple(
            LayerReport(step.work, self._log.stats.get(step.work.name, OverflowStats()))
            for step in self._program.steps
        )

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """Those whose results have a name; see :mod:`edgeq.diffing.replay`."""
        return operators_of(self._program)

    def replay(self, batch: Batch, recorded: Mapping[str, Recorded]) -> Iterator[Replayed]:
        """Compute each operator from what a run recorded; see :mod:`edgeq.diffing.replay`."""
        operators = {each.tensor: each for each in self.operators}
        done = 0
        for entered in self._parts(batch):
            part = slice(done, done + len(next(iter(entered.values()))))
            done = part.stop
            with torch.inference_mode(), _threads(self._threads):
                recording = Recording(self._program, recorded, part)
                yield from replay(self._program, operators, entered, recording, self._log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        del self._program

    # ---- inside ----------------------------------------------------------------------------------

    def _parts(self, batch: Batch) -> Iterator[dict[int, Tensor]]:
        """The centered integers of the inputs by slot, (samples, 1, …).

        The file's own batch is behind the samples. They come in parts that stay in the cache, so
        that memory does not grow with the batch.
        """
        entered = enter_all(batch, self.inputs)
        for start in range(0, len(entered[0]), self._at_once):
            part = [values[start : start + self._at_once] for values in entered]
            yield {
                slot: self._centered(values, spec, slot)
                for slot, values, spec in zip(
                    self._program.input_slots, part, self.inputs, strict=True
                )
            }

    def _centered(self, values: NDArray[Any], spec: TensorSpec, slot: int) -> Tensor:
        if spec.params is not None:
            values = values.astype(np.float32) - np.float32(int(spec.params.zero_point))
        shape = self._program.slots[slot].shape
        return torch.from_numpy(np.ascontiguousarray(values.reshape(len(values), *shape)))

    def _values(
        self, entered: Mapping[int, Tensor], keep: Mapping[int, Slot] = MappingProxyType({})
    ) -> dict[int, Tensor]:
        """Run the steps; what nothing reads any more is let go, unless it is to be kept."""
        values = {**entered, **self._program.constants}
        with torch.inference_mode(), _threads(self._threads):
            for step, freed in zip(self._program.steps, self._freed, strict=True):
                values[step.result] = self._computed(step, [values[i] for i in step.operands])
                for i in freed:
                    if i not in keep:
                        del values[i]
        return values

    def _computed(self, step: ProgramStep, operands: Sequence[Tensor]) -> Tensor:
        try:
            return step.kernel(operands, self._log)
        except RuntimeError as error:
            work = step.work
            raise TargetError(
                f"{work.op_type} {work.name!r} failed in the emulator: {error}",
                hint="report the model as a bug",
            ) from error

    def _stored(self, place: int, centered: Tensor) -> NDArray[Any]:
        """The integers that the file would hold, (samples, *shape without the file's batch).

        Of a tensor without a batch, such as a state, all of its shape.
        """
        slot = self._program.slots[place]
        shape = slot.shape[slot.shape[:1] == (1,) :]
        values = centered.reshape(centered.shape[0], *shape).contiguous().numpy()
        if slot.params is None:
            return values
        return (values.astype(np.int32) + int(slot.params.zero_point)).astype(slot.params.dtype)


class EstimatedSession(EmulatorSession):
    """A model on a machine of known speed.

    What a run takes is estimated from its costs, whatever the emulation takes.
    """

    def __init__(
        self, program: Program, profile: HardwareProfile, *, threads: int, intermediates: bool
    ) -> None:
        super().__init__(program, profile, threads=threads, intermediates=intermediates)
        costs = [layer_cost(step.work, self._place(step)) for step in program.steps]
        self._cost, hosted = (
            total([cost for cost in costs if cost is not None]),
            sum(cost is None for cost in costs),
        )
        if self._cost is not None:
            self.facts = {
                **self.facts,
                "cycles": f"{self._cost.cycles:,} at least, bound by {self._cost.bound}",
                "memory traffic": f"{self._cost.bytes:,} bytes",
                "energy": f"{self._cost.energy_nj:,.1f} nJ at 45 nm",
                "layers left to the host": str(hosted),
            }

    @property
    def estimated_ms(self) -> float:
        """What a run takes the machine at least.

        Layers of its host, whose speed is not known, are left out.
        """
        return 0.0 if self._cost is None else self._cost.latency_ms

    @property
    def estimate_note(self) -> str:
        """How it was estimated."""
        return (
            "the fewest cycles that the machine's peak rates allow; layers left to a host are "
            "not in it"
        )

    def _place(self, step: ProgramStep) -> HardwareProfile:
        work = step.work
        return (
            on_hardware(self.profile, work.name, work.weight_bits, work.input_bits)
            if work.kind == "dot"
            else self.profile
        )


def _spec(slot: Slot, *, batched: bool = True) -> TensorSpec:
    if not slot.shape or (batched and slot.shape[0] != 1):
        raise ArtefactError(
            f"the tensor {slot.name!r} has the shape {slot.shape}, not a batch of one",
            hint="export it with batch 1",
        )
    has_batch = slot.shape[0] == 1
    return TensorSpec(
        slot.name,
        slot.shape[has_batch:],
        "int32" if slot.rows else "float32" if slot.params is None else slot.params.dtype,
        slot.params,
        batched=has_batch,
        rows=slot.rows,
    )


def _upright(slot: Slot, values: NDArray[Any]) -> NDArray[Any]:
    """A tensor in the axes of its model."""
    if slot.axes is None or slot.axes[0] != 0:
        return values
    order = np.argsort(slot.axes)
    if values.ndim > len(order):  # the samples stand before all of its own axes
        order = np.concatenate([[0], order + 1])
    return np.ascontiguousarray(values.transpose(order))


def _with_grid(slot: Slot, values: NDArray[Any]) -> QuantizedTensor | NDArray[np.float32]:
    if slot.params is None:
        return cast("NDArray[np.float32]", values.astype(np.float32, copy=False))
    return QuantizedTensor(values, slot.params)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the number of threads, and products in full float32, for the time of a run."""
    before, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(count)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_float32_matmul_precision(precision)
