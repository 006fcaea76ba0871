"""TFLite models on the CPU through LiteRT: XNNPACK, optimised and reference kernels.

The three differ, by design, in the last bit of a requantisation; that is what comparing them is
for.

A file that edgeq wrote runs in this process. Any other runs in a worker: there are valid files that
crash LiteRT, and others whose state has to be reset by starting an interpreter again.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError, TargetError, first_line
from edgeq.files import read_bytes
from edgeq.formats.dialect import TFLITE
from edgeq.quant import STORAGE_RANGE, QuantParams
from edgeq.target import Availability, Capabilities, ChainLink, TensorSpec
from edgeq.targets.common.io import WHOLE_NUMBERS, readable
from edgeq.targets.common.probe import Runtime, find, installed, probe, require_format
from edgeq.targets.common.session import SampleSession
from edgeq.targets.isolation import limits, opens_apart, task
from edgeq.targets.workers.boundary import Sendable
from edgeq.targets.workers.engines.tflite import RESOLVERS, delegated, running, shown
from edgeq.targets.workers.launchers import Here
from edgeq.targets.workers.target import WorkerTarget
from edgeq.targets.workers.wire import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.plan import Plan
    from edgeq.targets.workers.bare import BareRuntime
    from edgeq.targets.workers.session import WorkerSession

_RUNTIMES = (
    Runtime("ai-edge-litert", "ai_edge_litert.interpreter"),
    Runtime("tflite-runtime", "tflite_runtime.interpreter"),
    Runtime("tensorflow", "tensorflow.lite.python.interpreter"),
)
_NHWC = (0, 2, 3, 1)
_LACKING = re.compile(r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'")
_OTHER_KERNELS = (
    "another kernel set may have it: -t tflite, or -t tflite-builtin; exported without "
    "--weight-storage int4 most files run on all of them"
)
_CHATTER = b"INFO: "  # LiteRT's severity prefix for what nobody has to act on


@dataclass(frozen=True, slots=True)
class TfliteTarget:
    """LiteRT with one kernel set.

    Attributes:
        capabilities: what it can run.
        kernels: the kernel set, by its name in
            :data:`edgeq.targets.workers.engines.tflite.RESOLVERS`.
        delegate: whether XNNPACK is to take the graph.
    """

    capabilities: Capabilities
    kernels: str
    delegate: bool

    def probe(self) -> Availability:
        """Whether one of the packages that hold the interpreter can be imported."""
        return probe(_RUNTIMES)

    def open(
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> TfliteSession | WorkerSession:
        """Load a TFLite model; see :meth:`edgeq.target.Target.open`.

        ``intermediates`` needs a target that can show them.
        """
        from edgeq.formats.tflite_file import axes_in, channels_last, is_ours, rows_picked
        from edgeq.formats.tflite_validation import check_model

        require_format(artefact, self.capabilities)
        content = read_bytes(artefact, "TFLite model")
        runtime, module = find(_RUNTIMES)
        check_model(content, artefact)
        if not is_ours(content) and opens_apart(by_default=True):
            return self._in_worker(
                content, artefact, module.__name__, threads, intermediates=intermediates
            )
        keep = intermediates and self.capabilities.intermediates
        interpreter = _start(module, content, artefact, RESOLVERS[self.kernels], threads, keep=keep)
        axes = axes_in(content) if keep else {}
        session = TfliteSession(
            interpreter,
            artefact,
            self,
            keep=keep,
            version={runtime.distribution: installed(runtime)},
            axes=axes,
        )
        whole = any(spec.dtype in WHOLE_NUMBERS for spec in session.inputs)
        rows = rows_picked(content) if whole else {}
        session.inputs = tuple(
            replace(
                spec,
                channels_last=channels_last(content, spec.name),
                rows=rows.get(spec.name, 0),
            )
            for spec in session.inputs
        )
        return session

    def alone(self, artefact: Path, *, threads: int = 1, batch: int = 1) -> BareRuntime:
        """The interpreter in a process of its own; see :meth:`edgeq.target.Startable.alone`."""
        from edgeq.formats.tflite_validation import check_model

        require_format(artefact, self.capabilities)
        content = read_bytes(artefact, "TFLite model")
        _, module = find(_RUNTIMES)
        check_model(content, artefact)
        return self._apart(artefact, module.__name__).start_alone(
            content, threads=threads, batch=batch
        )

    def plan(self, artefact: Path, *, threads: int = 1) -> Plan:
        """Which operators run in integers, and which XNNPACK took."""
        from edgeq.formats.tflite_file import graphs_of, is_ours
        from edgeq.formats.tflite_validation import check_model
        from edgeq.targets.plans.tflite import plan_of

        require_format(artefact, self.capabilities)
        content = read_bytes(artefact, "TFLite model")
        _, module = find(_RUNTIMES)
        check_model(content, artefact)
        if is_ours(content) or not opens_apart(by_default=True):
            interpreter = _start(
                module, content, artefact, RESOLVERS[self.kernels], threads, keep=False
            )
            # the public API lists no operators
            inside = sorted(delegated(interpreter._get_ops_details()))
        else:
            with self._in_worker(
                content, artefact, module.__name__, threads, intermediates=False
            ) as session:
                inside = [layer["index"] for layer in session.layers]
        return plan_of(graphs_of(content), inside, delegate=self.delegate)

    def _in_worker(
        self, content: bytes, artefact: Path, module: str, threads: int, *, intermediates: bool
    ) -> WorkerSession:
        from edgeq.formats.tflite_file import images_last, rows_picked

        session = self._apart(artefact, module).start(
            Sendable(
                content,
                channels_last=True,
                takes_channels_last=images_last(content),
                rows=rows_picked(content),
            ),
            threads=threads,
            intermediates=intermediates,
        )
        session.facts = {**session.facts, "kernels": self.capabilities.summary}
        return session

    def _apart(self, artefact: Path, module: str) -> WorkerTarget:
        return WorkerTarget(
            "tflite",
            self.capabilities,
            "tflite",
            options={"kernels": self.kernels, "module": module},
            launcher=Here(task(artefact, self.capabilities)),
            limits=limits(),
        )


def _target(
    place: int, name: str, kernels: str, *, delegate: bool, reference: bool = False
) -> TfliteTarget:
    return TfliteTarget(
        Capabilities(
            formats=frozenset({"tflite"}),
            storage_dtypes=frozenset({"int8"}),
            per_channel=True,
            intermediates=not delegate,  # a delegate keeps what lies inside its partition to itself
            latency="measured",
            summary=f"LiteRT CPU, {name} kernels",
            dialect=TFLITE,
            reference=reference,
            link=ChainLink(place, ("quantisation", "lowering", "kernel rounding")),
        ),
        kernels,
        delegate,
    )


xnnpack = _target(70, "XNNPACK", "xnnpack", delegate=True)
builtin = _target(60, "optimised built-in", "builtin", delegate=False)
reference = _target(50, "reference", "reference", delegate=False, reference=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop the lines that LiteRT marks as mere information from stderr, and pass on all others.

    LiteRT writes to file descriptor 2 from C++ and offers Python no level to set.
    """
    if sys.stderr is None:  # the process was started with descriptor 2 closed
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            os.write(2, b"".join(line for line in caught if not line.startswith(_CHATTER)))


def _start(
    module: Any, content: bytes, artefact: Path, resolver: str, threads: int, *, keep: bool
) -> Any:
    try:
        with _quiet():
            interpreter = module.Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=module.OpResolverType[resolver],
                experimental_preserve_all_tensors=keep,
            )
            interpreter.allocate_tensors()
    except ValueError as error:
        if lacking := _LACKING.search(str(error)):
            name, version = lacking.groups()
            raise TargetError(
                f"{artefact} holds {name} of version {version}, for which these kernels have none",
                hint=_OTHER_KERNELS,
            ) from error
        raise ArtefactError(
            f"LiteRT cannot load {artefact}: {first_line(error)}",
            hint="export it again; it may be damaged",
        ) from error
    except RuntimeError as error:
        raise TargetError(
            f"LiteRT refuses {artefact}: {first_line(error)}",
            hint="another kernel set may take it",
        ) from error
    return interpreter


class TfliteSession(SampleSession):
    """A TFLite model opened in LiteRT.

    Attributes:
        layers: the numbers of the operators that a delegate took, as a worker tells them.
    """

    def __init__(
        self,
        interpreter: Any,
        artefact: Path,
        target: TfliteTarget,
        *,
        keep: bool,
        version: Mapping[str, str],
        axes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        if not inputs or not outputs:
            raise ArtefactError(
                f"{artefact} has {len(inputs)} inputs and {len(outputs)} outputs",
                hint="export it again; it may be truncated",
            )
        self.inputs = tuple(
            _spec(one, artefact, counts=True, batched=len(inputs) == 1) for one in inputs
        )
        self.outputs = readable([partial(_spec, one, artefact, counts=True) for one in outputs])
        places = {one["name"]: one["index"] for one in reversed(outputs)}  # the first of a name
        self._entering = [one["index"] for one in inputs]
        self._exits = [places[spec.name] for spec in self.outputs]
        operators = interpreter._get_ops_details()  # the only way to learn what runs
        self.facts = {**_facts(operators, target, artefact), **version}
        self.layers = [{"index": index} for index in sorted(delegated(operators))]
        self._shown = shown(interpreter, operators, self._entering) if keep else {}
        self._axes = axes
        self.grids = _grids(self._shown, axes)
        if keep:
            self.unreadable = None
        elif not target.capabilities.intermediates:
            self.unreadable = (
                "XNNPACK shows no tensors inside the graph",
                "use tflite-builtin or tflite-ref",
            )

    def set_sample(self, sample: Sequence[NDArray[np.generic]]) -> None:
        """Keep the inputs for the next run."""
        for index, values in zip(self._entering, sample, strict=True):
            self._interpreter.set_tensor(index, values)

    def invoke(self) -> None:
        """Compute the outputs."""
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise TargetError(
                f"LiteRT failed while running: {first_line(error)}",
                hint="another kernel set may run it",
            ) from error

    def get_output(self, index: int = 0) -> NDArray[np.generic]:
        """An output of the last run."""
        values: NDArray[np.generic] = self._interpreter.get_tensor(self._exits[index])
        return values

    def inspect(self, sample: Sequence[NDArray[np.generic]]) -> Mapping[str, NDArray[np.generic]]:
        """The readable tensors for one sample."""
        self.set_sample(sample)
        self.invoke()
        return {
            name: _channels_first(
                self._interpreter.get_tensor(detail["index"]), self._axes.get(detail["name"])
            )
            for name, detail in self._shown.items()
        }

    def compute_and_inspect(
        self, sample: Sequence[NDArray[np.generic]]
    ) -> tuple[list[NDArray[np.generic]], Mapping[str, NDArray[np.generic]]]:
        """The outputs and the readable tensors for one sample, in one run."""
        shown = self.inspect(sample)
        return [self.get_output(index) for index in range(len(self.outputs))], shown

    def close(self) -> None:
        """Free the session."""
        del self._interpreter


def _spec(
    detail: Mapping[str, Any], artefact: Path, *, counts: bool = False, batched: bool = True
) -> TensorSpec:
    """One end of a file.

    It may be whole numbers without a grid (``counts``), such as tokens, or the classes that an
    ARG_MAX gives. One that need not be ``batched`` may be a state that has its layers first.
    """
    shape, kind = tuple(int(d) for d in detail["shape"]), np.dtype(detail["dtype"]).name
    if not shape or (batched and shape[0] != 1):
        raise ArtefactError(
            f"{artefact}: the tensor {detail['name']!r} has the shape {shape}, not a batch of one",
            hint="export it with batch 1",
        )
    params = _params(detail)
    if kind != "float32" and params is None and not (counts and kind in WHOLE_NUMBERS):
        raise ArtefactError(
            f"{artefact}: {detail['name']!r} is {kind} without a scale, and edgeq feeds "
            "real numbers",
            hint="export with a scale",
        )
    has_batch = shape[0] == 1
    return TensorSpec(detail["name"], shape[has_batch:], kind, params, batched=has_batch)


def _params(detail: Mapping[str, Any], axis: int | None = None) -> QuantParams | None:
    kind, grid = np.dtype(detail["dtype"]).name, detail["quantization_parameters"]
    scale = grid["scales"]
    if len(scale) == 0 or kind not in STORAGE_RANGE:
        return None
    if len(scale) == 1:
        return QuantParams.of(scale.reshape(()), int(grid["zero_points"][0]), kind)
    return QuantParams.of(
        scale, grid["zero_points"], kind, axis=grid["quantized_dimension"] if axis is None else axis
    )


def _facts(
    operators: Sequence[Mapping[str, Any]], target: TfliteTarget, artefact: Path
) -> dict[str, str]:
    """What really runs.

    Raises:
        TargetError: XNNPACK was asked for and took nothing, so other kernels would run in its
            place.
    """
    try:
        told = running(operators, delegate=target.delegate)
    except Refused as error:
        hint = "use tflite-builtin, the kernels that would run in its place"
        raise TargetError(f"XNNPACK takes no operator of {artefact}", hint=hint) from error
    return {"kernels": target.capabilities.summary, **told}


def _grids(
    shown: Mapping[str, Mapping[str, Any]], axes: Mapping[str, tuple[int, ...]]
) -> dict[str, QuantParams]:
    grids: dict[str, QuantParams] = {}
    for name, detail in shown.items():
        axis = detail["quantization_parameters"]["quantized_dimension"]
        order = axes.get(detail["name"], _NHWC if len(detail["shape"]) == 4 else ())
        params = _params(detail, axis=order[axis] if order else axis)
        if params is not None:
            grids[name] = params
    return grids


def _channels_first(
    values: NDArray[np.generic], axes: tuple[int, ...] | None
) -> NDArray[np.generic]:
    """A tensor in the axes of its model, from the ones it is stored in.

    Those that the file states, else NHWC for images.
    """
    order = axes or (_NHWC if values.ndim == 4 else ())
    return (
        np.ascontiguousarray(values.transpose(np.argsort(order)))
        if len(order) == values.ndim
        else values
    )
