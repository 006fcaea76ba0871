"""A target of edgeq's own in a process of its own, as the host sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import TargetError
from edgeq.plan import Plan, PlannedOp
from edgeq.quant import QuantParams
from edgeq.target import TensorSpec
from edgeq.targets.isolation import limits
from edgeq.targets.workers.boundary import Sendable
from edgeq.targets.workers.launchers import Here
from edgeq.targets.workers.process import Worker
from edgeq.targets.workers.session import WorkerSession

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ENGINE = "edgeq.targets.isolation.engine"


@dataclass(frozen=True, slots=True)
class Hosted:
    """A target that is opened in a process of its own.

    Attributes:
        target: where it is, ``module:attribute``.
        task: what to call the process in messages.
    """

    target: str
    task: str

    def open(self, artefact: Path, threads: int, *, intermediates: bool = False) -> HostedSession:
        """Open an artefact there.

        Raises:
            ArtefactError: it is broken.
            TargetError: the target refuses it, or the process crashed, hung, or took all memory.
        """
        return self._started(artefact, threads, intermediates=intermediates, plan=False)

    def plan(self, artefact: Path, threads: int) -> Plan:
        """What the target does with an artefact; raises as :meth:`open` does."""
        with self._started(artefact, threads, intermediates=False, plan=True) as session:
            try:
                ops = tuple(PlannedOp(**each) for each in session.layers)
                moved = (int(session.facts[key]) for key in ("transposes", "transposed_bytes"))
                return Plan(ops, *moved)
            except (KeyError, TypeError, ValueError) as error:
                raise TargetError(
                    "the worker describes a plan that is none", hint="report it as a bug of edgeq"
                ) from error

    def _started(
        self, artefact: Path, threads: int, *, intermediates: bool, plan: bool
    ) -> HostedSession:
        bounds = limits()
        worker = Worker(Here(self.task), _ENGINE, seconds=bounds.open_seconds)
        options = {
            "target": self.target,
            "path": str(artefact.resolve()),
            "threads": threads,
            "intermediates": intermediates,
            "plan": plan,
        }
        try:
            return HostedSession(worker, Sendable(b"\0"), options, bounds)
        except BaseException:
            worker.close()
            raise


class HostedSession(WorkerSession):
    """A session whose other side is one of edgeq's own, and describes tensors as edgeq does."""

    def _ends(self, loaded: Mapping[str, Any]) -> tuple[Any, Any]:
        inputs, outputs = (
            tuple(_spec(one) for one in loaded.get(key) or ()) for key in ("inputs", "outputs")
        )
        if not (inputs and outputs):
            raise TargetError(
                "the worker's model has no input, or no output", hint="report it as a bug of edgeq"
            )
        self._places = {spec.name: place for place, spec in enumerate(outputs)}
        return inputs, outputs

    def _inner_grids(self, told: Any) -> dict[str, Any]:
        return {str(name): _grid(each) for name, each in dict(told or {}).items()}


def _spec(told: Any) -> TensorSpec:
    try:
        return TensorSpec(
            str(told["name"]),
            tuple(int(size) for size in told["shape"]),
            str(told["dtype"]),
            None if told["params"] is None else _grid(told["params"]),
            channels_last=bool(told["channels_last"]),
            batched=bool(told["batched"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TargetError(
            f"the worker describes a tensor as {str(told)[:200]}",
            hint="report it as a bug of edgeq",
        ) from error


def _grid(told: Any) -> QuantParams:
    return QuantParams(
        np.asarray(told["scale"], np.float32),
        np.asarray(told["zero_point"], np.int32),
        str(told["dtype"]),
        int(told["qmin"]),
        int(told["qmax"]),
        None if told["axis"] is None else int(told["axis"]),
    )
