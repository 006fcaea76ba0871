"""Any target of edgeq's own, in a process of its own: for files that may crash a runtime.

Unlike the other engines it imports edgeq, and runs where edgeq is installed.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import ArtefactError, EdgeqError
from edgeq.targets.common.session import SampleSession
from edgeq.targets.workers.wire import Damaged, Refused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeq.quant import QuantParams
    from edgeq.target import TensorSpec


def versions() -> dict[str, str]:
    """Nothing: the target's facts have them."""
    return {}


class Engine:
    """One artefact on one target.

    Args:
        _model: not used; a model may lie in several files.
        options: ``target`` (``module:attribute``), ``path``, ``threads``, ``intermediates``,
            ``plan`` (whether ``layers`` are to be what the target would do with each operator).
    """

    def __init__(self, _model: bytes, options: dict[str, Any]) -> None:
        path, threads = Path(options["path"]), int(options["threads"])
        module, _, attribute = str(options["target"]).partition(":")
        target: Any = getattr(import_module(module), attribute)
        try:
            session = target.open(path, threads=threads, intermediates=options["intermediates"])
            plan = target.plan(path, threads=threads) if options.get("plan") else None
        except ArtefactError as error:
            raise Damaged(_told(error)) from error
        except EdgeqError as error:
            raise Refused(_told(error)) from error
        if not isinstance(session, SampleSession):
            raise Refused(f"{options['target']} cannot run in a process of its own")
        self._session = session
        self.inputs = [described(spec) for spec in session.inputs]
        self.outputs = [described(spec) for spec in session.outputs]
        self.facts = dict(session.facts)
        self.grids = {name: grid(params) for name, params in getattr(session, "grids", {}).items()}
        self.layers: list[dict[str, Any]] = []
        if plan is not None:
            self.layers = [asdict(op) for op in plan.ops]
            self.facts["transposes"] = str(plan.transposes)
            self.facts["transposed_bytes"] = str(plan.transposed_bytes)
        self._entering: dict[int, NDArray[np.generic]] = {}
        self._sample: list[NDArray[np.generic]] = []

    def set_input(self, sample: NDArray[Any], index: int = 0) -> None:
        """Keep an input; with the last one the sample is whole."""
        self._entering[index] = sample
        if index == len(self.inputs) - 1:
            self._sample = [self._entering[i] for i in range(len(self.inputs))]
            self._session.set_sample(self._sample)

    def invoke(self) -> None:
        """Run once."""
        self._session.invoke()

    def get_output(self, index: int = 0) -> NDArray[Any]:
        """An output of the last run."""
        return self._session.get_output(index)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inner tensors for the sample set."""
        return dict(self._session.inspect(self._sample))


def _told(error: EdgeqError) -> str:
    return f"{error.what} (hint: {error.hint})"


def described(spec: TensorSpec) -> dict[str, Any]:
    """One end of a model, as the host makes a specification of it again."""
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "params": grid(spec.params) if spec.params is not None else None,
        "channels_last": spec.channels_last,
        "batched": spec.batched,
    }


def grid(params: QuantParams) -> dict[str, Any]:
    """A grid, likewise."""
    return {
        "scale": params.scale.tolist(),
        "zero_point": params.zero_point.tolist(),
        "dtype": params.dtype,
        "qmin": params.qmin,
        "qmax": params.qmax,
        "axis": params.axis,
    }
