"""What the in-process targets share: samples one at a time, checks in one place.

Samples go through the runtime one by one because float kernels add in another order when the batch
changes (seen with LiteRT's optimised kernels and with torch), and a sample's answer must not depend
on its neighbours. On small networks it costs nothing: measured, ONNX Runtime and LiteRT are as fast
this way, torch 9 % slower.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edgeq.errors import TargetError
from edgeq.quant import QuantizedTensor
from edgeq.targets.common.io import each_sample, enter_all, join, leave, require_one

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from edgeq.quant import QuantParams
    from edgeq.target import Answers, Batch, Shown, TensorSpec


class SampleSession(ABC):
    """A session that computes one sample at a time; a runtime's file says how.

    Attributes:
        inputs: the inputs, in the artefact's order.
        outputs: the first output, and those of the others that can be read.
        facts: what really runs.
        unreadable: why :meth:`tensors` cannot answer, and the hint; None when it can.
        grids: the grid of each readable quantised tensor, by name.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    facts: Mapping[str, str]
    unreadable: tuple[str, str] | None = (
        "the artefact was opened without intermediates",
        "open it with intermediates=True",
    )
    grids: Mapping[str, QuantParams]

    @abstractmethod
    def set_sample(self, sample: Sequence[NDArray[np.generic]]) -> None:
        """Give the runtime its inputs, each (1, *shape) and of the input's type.

        And reset what a model keeps between inferences.
        """

    @abstractmethod
    def invoke(self) -> None:
        """Run once on the sample set."""

    @abstractmethod
    def get_output(self, index: int = 0) -> NDArray[np.generic]:
        """An output of the last run, by its place in ``outputs``, with its batch of one."""

    @abstractmethod
    def inspect(self, sample: Sequence[NDArray[np.generic]]) -> Mapping[str, NDArray[np.generic]]:
        """The tensors inside the graph for one sample, in graph order, in NCHW."""

    @abstractmethod
    def close(self) -> None:
        """Free the runtime."""

    @property
    def output(self) -> TensorSpec:
        """The first output."""
        return self.outputs[0]

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Compute the first output for a batch; see :meth:`edgeq.target.Session.run`."""
        return self._computed(batch, self.outputs[:1])[0]

    def run_all(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Compute all outputs; see :meth:`edgeq.target.Session.run_all`."""
        found = self._computed(batch, self.outputs)
        return {spec.name: values for spec, values in zip(self.outputs, found, strict=True)}

    def run_and_show(self, batch: Batch) -> tuple[Answers, Shown]:
        """Both in one run; see :meth:`edgeq.target.ShowingSession.run_and_show`."""
        self._require_readable()
        found = [self.compute_and_inspect(sample) for sample in self._samples(batch)]
        answers = _left([one for one, _ in found], self.outputs)
        named = {spec.name: values for spec, values in zip(self.outputs, answers, strict=True)}
        return named, self._joined([shown for _, shown in found])

    def compute_and_inspect(
        self, sample: Sequence[NDArray[np.generic]]
    ) -> tuple[list[NDArray[np.generic]], Mapping[str, NDArray[np.generic]]]:
        """The outputs and the readable tensors for one sample; in one run where a runtime can."""
        return self._compute(sample, len(self.outputs)), self.inspect(sample)

    def _computed(self, batch: Batch, specs: Sequence[TensorSpec]) -> list[NDArray[np.float32]]:
        """The first so many outputs for a batch."""
        return _left([self._compute(sample, len(specs)) for sample in self._samples(batch)], specs)

    def _samples(self, batch: Batch) -> Iterator[list[NDArray[np.generic]]]:
        return each_sample(enter_all(batch, self.inputs), self.inputs)

    def _compute(
        self, sample: Sequence[NDArray[np.generic]], count: int
    ) -> list[NDArray[np.generic]]:
        self.set_sample(sample)
        self.invoke()
        return [self.get_output(index) for index in range(count)]

    def tensors(self, batch: Batch) -> Shown:
        """Every readable tensor for a batch; see :meth:`edgeq.target.Session.tensors`."""
        self._require_readable()
        return self._joined([self.inspect(sample) for sample in self._samples(batch)])

    def _require_readable(self) -> None:
        if self.unreadable is not None:
            what, hint = self.unreadable
            raise TargetError(what, hint=hint)

    def _joined(self, seen: Sequence[Mapping[str, NDArray[np.generic]]]) -> Shown:
        return _Joined({name: [one[name] for one in seen] for name in seen[0]}, self.grids)

    def prepare(self, batch: Batch) -> None:
        """Set one sample for :meth:`invoke`.

        Raises:
            ArtefactError: the batch does not fit, or holds more than one sample.
        """
        require_one(batch)
        self.set_sample(next(self._samples(batch)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class _Joined(Mapping[str, "QuantizedTensor | NDArray[np.float32]"]):
    """Tensors of samples as batches, each put together when it is first asked for.

    Few of them may be looked at, and what was put together just before is still in the cache.
    """

    def __init__(
        self, samples: dict[str, list[NDArray[Any]]], grids: Mapping[str, QuantParams]
    ) -> None:
        self._samples, self._grids = samples, grids
        self._found: dict[str, QuantizedTensor | NDArray[np.float32]] = {}
        self._names = tuple(samples)

    def __getitem__(self, name: str) -> QuantizedTensor | NDArray[np.float32]:
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self._batch(name, join(self._samples.pop(name)))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _batch(self, name: str, values: NDArray[Any]) -> QuantizedTensor | NDArray[np.float32]:
        if name in self._grids:
            return QuantizedTensor(values, self._grids[name])
        return values.astype(np.float32, copy=False)


def _left(
    found: Sequence[Sequence[NDArray[np.generic]]], specs: Sequence[TensorSpec]
) -> list[NDArray[np.float32]]:
    """The outputs of samples as batches of real numbers."""
    return [
        leave(join(values), spec)
        for values, spec in zip(zip(*found, strict=True), specs, strict=True)
    ]
