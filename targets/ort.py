"""ONNX Runtime on the CPU.

With all its graph optimisation, and, as the reference for ONNX semantics, with none.

What the optimiser really did is read back from the graph it writes, and is reported: a QDQ model
that it could not fuse computes in float, and nothing else would tell.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeq.errors import ArtefactError, TargetError, UsageError, first_line
from edgeq.files import temporary_folder
from edgeq.formats.dialect import CANONICAL, VNNI
from edgeq.formats.onnx_io import is_ours, load
from edgeq.formats.onnx_validation import check_graph
from edgeq.machine import adds_pairs, fingerprint
from edgeq.qdq.normal_form.quant_nodes import QUANT_DOMAINS
from edgeq.qdq.ort_x86.softmax import check_softmax
from edgeq.qdq.qoperator.convert import as_qdq
from edgeq.tabular import counted
from edgeq.target import Availability, Capabilities, ChainLink, TensorSpec
from edgeq.targets.common.io import WHOLE_NUMBERS, readable, zeros
from edgeq.targets.common.probe import Runtime, find, installed, probe, require_format
from edgeq.targets.common.session import SampleSession
from edgeq.targets.isolation import limits, opens_apart, task
from edgeq.targets.isolation.hosted import Hosted
from edgeq.targets.plans.onnx_exact import exact_form
from edgeq.targets.plans.onnx_graph import (
    QdqView,
    Readable,
    channels_last,
    count_operators,
    inputs_of,
    sample_shape,
)
from edgeq.targets.workers.launchers import Here
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    import onnxruntime
    from numpy.typing import NDArray

    from edgeq.plan import Plan
    from edgeq.targets.ort_replay import OrtReplay
    from edgeq.targets.workers.bare import BareRuntime
    from edgeq.targets.workers.session import WorkerSession

_RUNTIME = Runtime("onnxruntime", "onnxruntime")
_PROVIDER = "CPUExecutionProvider"
_LAYOUT_OPERATORS = {"Transpose", "ReorderInput", "ReorderOutput"}  # move numbers, and change none
_VNNI = "vnni"
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
# severity; what ONNX Runtime warns of on stderr (its optimised graph is not portable, …) needs no
# reader
_FATAL_ONLY = 4


@dataclass(frozen=True, slots=True)
class OrtTarget:
    """ONNX Runtime's CPU provider.

    Attributes:
        capabilities: what it can run.
        optimize: whether the graph optimiser is on.
    """

    capabilities: Capabilities
    optimize: bool

    def probe(self) -> Availability:
        """Whether onnxruntime can be imported."""
        return probe([_RUNTIME])

    def open(
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> OrtSession | WorkerSession:
        """Load an ONNX model; see :meth:`edgeq.target.Target.open`."""
        require_format(artefact, self.capabilities)
        find([_RUNTIME])
        engine = _Engine(artefact, threads, self.optimize)
        if opens_apart(by_default=False) and not is_ours(engine.load()):
            return self._hosted(artefact).open(artefact, threads, intermediates=intermediates)
        return OrtSession(engine, intermediates=intermediates)

    def alone(self, artefact: Path, *, threads: int = 1, batch: int = 1) -> BareRuntime:
        """ONNX Runtime in a process of its own; see :meth:`edgeq.target.Startable.alone`."""
        require_format(artefact, self.capabilities)
        find([_RUNTIME])
        options = {"optimize": self.optimize}
        place = Here(task(artefact, self.capabilities))
        apart = WorkerTarget(
            "ort", self.capabilities, "ort", options=options, launcher=place, limits=limits()
        )
        content = _Engine(artefact, threads, self.optimize).load().SerializeToString()
        return apart.start_alone(content, threads=threads, batch=batch)

    def plan(self, artefact: Path, *, threads: int = 1) -> Plan:
        """Which operators run in integers; see :meth:`edgeq.plan.Planner.plan`."""
        from edgeq.targets.plans.onnx import marked, plan_of

        require_format(artefact, self.capabilities)
        find([_RUNTIME])
        engine = _Engine(artefact, threads, self.optimize)
        model = engine.load()
        if opens_apart(by_default=False) and not is_ours(model):
            return self._hosted(artefact).plan(artefact, threads)
        _, running = engine.start(marked(model))
        return plan_of(model, running, optimize=self.optimize)

    def _hosted(self, artefact: Path) -> Hosted:
        name = "cpu" if self.optimize else "cpu_reference"
        return Hosted(f"{__name__}:{name}", task(artefact, self.capabilities))


@dataclass(frozen=True, slots=True)
class OrtReference(OrtTarget):
    """The provider without optimisation, which also computes operators from given numbers."""

    def open_replay(self, artefact: Path, *, threads: int = 1) -> OrtReplay:
        """Load a file whose operators are given numbers; see :mod:`edgeq.diffing.replay`."""
        from edgeq.targets.ort_replay import OrtReplay

        with self.open(artefact, threads=threads) as session:
            inputs = session.inputs
        return OrtReplay(artefact, inputs, threads)


@dataclass(frozen=True, slots=True)
class OrtCpu(OrtTarget):
    """The optimised provider.

    It comes in one more kind: ``ort-cpu:vnni``, for processors whose dot product adds in 32 bits.
    """

    def variants(self) -> tuple[str, ...]:
        """The kinds beside the plain one."""
        return (_VNNI,)

    def variant(self, kind: str) -> OrtTarget:
        """The kind for a processor.

        Raises:
            UsageError: there is none such.
        """
        if kind != _VNNI:
            raise UsageError(
                f"the target 'ort-cpu' has no kind {kind!r}",
                hint=f"name it ort-cpu or ort-cpu:{_VNNI}",
            )
        summary = "ONNX Runtime CPU on x86 with VNNI: int8 weights in every layer"
        own = replace(
            self.capabilities,
            summary=summary,
            dialect=VNNI,
            saturating_pairs="never",
            uint8_weight_cost=None,
            link=None,
        )
        return OrtVnni(own, self.optimize)


@dataclass(frozen=True, slots=True)
class OrtVnni(OrtTarget):
    """The optimised provider where the processor has VNNI."""

    def probe(self) -> Availability:
        """Whether onnxruntime can be imported and the processor has VNNI."""
        if adds_pairs(machine := fingerprint()):
            return Availability(
                usable=False,
                why_not=f"this processor, {machine.cpu}, has no VNNI",
                hint="use ort-cpu",
            )
        return OrtTarget.probe(self)


cpu = OrtCpu(
    Capabilities(
        formats=frozenset({"onnx"}),
        storage_dtypes=frozenset({"uint8", "int8"}),
        per_channel=True,
        intermediates=True,
        latency="measured",
        summary="ONNX Runtime CPU, all graph optimisation on",
        dialect=CANONICAL,
        saturating_pairs="across",
        uint8_weight_cost=1.55,
        qoperator=True,
        link=ChainLink(30, ("quantisation", "lowering", "graph optimisation")),
    ),
    optimize=True,
)
cpu_reference = OrtReference(
    Capabilities(
        formats=frozenset({"onnx"}),
        storage_dtypes=frozenset(),
        per_channel=True,
        intermediates=True,
        latency="measured",
        summary="ONNX Runtime CPU, all graph optimisation off: ONNX semantics to the letter",
        dialect=CANONICAL,
        reference=True,
        link=ChainLink(20, ("quantisation", "lowering")),
    ),
    optimize=False,
)


@dataclass(frozen=True, slots=True)
class _Engine:
    """How models become ONNX Runtime sessions here, and its exceptions errors for people."""

    artefact: Path
    threads: int
    optimize: bool

    def load(self) -> onnx.ModelProto:
        """The model that is run.

        As the file has it, or, for the reference, in operators that are exact on every processor.
        """
        model = load(self.artefact)
        return model if self.optimize else exact_form(model)

    def start(self, model: onnx.ModelProto) -> tuple[onnxruntime.InferenceSession, onnx.ModelProto]:
        """A session, and the graph that it really runs.

        Raises:
            ArtefactError: it does not load, or has a Softmax whose integer kernel overflows.
            TargetError: the runtime has no kernel for it.
        """
        if not self.optimize:
            return self._create(model, self._options()), model
        with temporary_folder() as folder:
            options = self._options()
            options.optimized_model_filepath = str(folder / "optimized.onnx")
            session = self._create(model, options)
            running = load(Path(options.optimized_model_filepath))
        if any(node.op_type == "QLinearSoftmax" for node in running.graph.node):
            import onnx_ir as ir

            check_softmax(as_qdq(ir.from_proto(load(self.artefact))))  # under the names of the file
        return session, running

    def _options(self) -> onnxruntime.SessionOptions:
        import onnxruntime as ort

        options = ort.SessionOptions()
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = (
            level.ORT_ENABLE_ALL if self.optimize else level.ORT_DISABLE_ALL
        )
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        return options

    def _create(
        self, model: onnx.ModelProto, options: onnxruntime.SessionOptions
    ) -> onnxruntime.InferenceSession:
        import onnxruntime as ort
        from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

        try:
            session = ort.InferenceSession(
                model.SerializeToString(), options, providers=[_PROVIDER], enable_fallback=0
            )
        except NoKernel as error:
            raise TargetError(
                f"ONNX Runtime {ort.__version__} has no CPU kernel for {self.artefact}: "
                f"{first_line(error)}",
                hint="choose another target",
            ) from error
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            if any(node.domain in QUANT_DOMAINS for node in model.graph.node):
                raise ArtefactError(
                    f"{self.artefact} has quantisers of QONNX or Brevitas, which ONNX Runtime has "
                    "no kernel for",
                    hint="edgeq export --for ort-cpu writes the same integers as QDQ ONNX",
                ) from error
            check_graph(model, str(self.artefact))  # which has more to say of what is no graph
            raise ArtefactError(
                f"ONNX Runtime cannot load {self.artefact}: {first_line(error)}",
                hint="export the model again",
            ) from error
        used = session.get_providers()[0]
        if used != _PROVIDER:
            raise TargetError(
                f"ONNX Runtime runs {self.artefact} on {used}, not on {_PROVIDER}",
                hint="install onnxruntime's CPU package",
            )
        return session


class OrtSession(SampleSession):
    """An ONNX model opened in ONNX Runtime."""

    def __init__(self, engine: _Engine, *, intermediates: bool) -> None:
        model = engine.load()
        entering = inputs_of(model)
        self._session, running = engine.start(model)
        view = QdqView(model)
        self._readable: list[Readable] = []
        self.facts = _facts(self._session, running, optimize=engine.optimize)
        if intermediates:
            wanted = view.quantized() or view.floats()
            self._session, self._readable = _expose(engine, model, running, wanted)
            self.facts["readable"] = counted(len(self._readable), "tensor", of=len(wanted))
            self.unreadable = None
        self.grids = {
            tensor.name: tensor.params for tensor in self._readable if tensor.params is not None
        }
        types = {value.name: value.type for value in self._session.get_inputs()}
        self.inputs = tuple(
            replace(
                _input_spec(value, types[value.name], view, alone=len(entering) == 1),
                channels_last=channels_last(model, value.name),
            )
            for value in entering
        )
        self._exits = [value.name for value in model.graph.output]
        self.set_sample(zeros(self.inputs))
        self.invoke()
        self.outputs = readable(
            [
                partial(_output_spec, name, values, view)
                for name, values in zip(self._exits, self._result, strict=True)
            ]
        )
        self._exits = [spec.name for spec in self.outputs]
        self.invoke()

    def set_sample(self, sample: Sequence[NDArray[np.generic]]) -> None:
        """Keep the inputs for the next run."""
        self._feed = {spec.name: one for spec, one in zip(self.inputs, sample, strict=True)}

    def invoke(self) -> None:
        """Compute the outputs."""
        self._result = self._run(self._exits)

    def get_output(self, index: int = 0) -> NDArray[np.generic]:
        """An output of the last run."""
        return self._result[index]

    def inspect(self, sample: Sequence[NDArray[np.generic]]) -> Mapping[str, NDArray[np.generic]]:
        """The readable tensors for one sample."""
        self.set_sample(sample)
        # no names would mean all outputs
        values = self._run([tensor.value for tensor in self._readable]) if self._readable else []
        return {tensor.name: value for tensor, value in zip(self._readable, values, strict=True)}

    def compute_and_inspect(
        self, sample: Sequence[NDArray[np.generic]]
    ) -> tuple[list[NDArray[np.generic]], Mapping[str, NDArray[np.generic]]]:
        """The outputs and the readable tensors for one sample, in one run."""
        self.set_sample(sample)
        names = dict.fromkeys([*self._exits, *(tensor.value for tensor in self._readable)])
        values = dict(zip(names, self._run(list(names)), strict=True))
        shown = {tensor.name: values[tensor.value] for tensor in self._readable}
        return [values[name] for name in self._exits], shown

    def _run(self, names: Sequence[str]) -> list[NDArray[np.generic]]:
        try:
            return cast("list[NDArray[np.generic]]", self._session.run(names, self._feed))
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise TargetError(
                f"ONNX Runtime failed while running: {first_line(error)}",
                hint="try ort-cpu-ref, or another version",
            ) from error

    def close(self) -> None:
        """Free the session."""
        del self._session


def _facts(
    session: onnxruntime.InferenceSession, running: onnx.ModelProto, *, optimize: bool
) -> dict[str, str]:
    return {
        "provider": session.get_providers()[0],
        "optimisation": "all" if optimize else "none",
        "operators": count_operators(running),
        _RUNTIME.distribution: installed(_RUNTIME),
    }


def _expose(
    engine: _Engine, model: onnx.ModelProto, running: onnx.ModelProto, wanted: Sequence[Readable]
) -> tuple[onnxruntime.InferenceSession, list[Readable]]:
    """A session that also gives inner tensors, as many as it can without changing what runs.

    A tensor made a graph output may keep the optimiser from fusing the operators on its two sides,
    and then other kernels compute other numbers. So all are asked for first, then only those that
    outlive optimisation, and a set is taken if the optimised graph computes with the same operators
    as it does without.
    """
    alive = {name for node in running.graph.node for name in node.output}
    for tensors in (wanted, [tensor for tensor in wanted if tensor.value in alive]):
        session, exposed = engine.start(_exposing(model, tensors))
        if _computing(exposed) == _computing(running):
            return session, _of_known_type(session, tensors)
    return engine.start(model)[0], []


def _computing(model: onnx.ModelProto) -> Counter[str]:
    return Counter(
        node.op_type for node in model.graph.node if node.op_type not in _LAYOUT_OPERATORS
    )


def _exposing(model: onnx.ModelProto, tensors: Sequence[Readable]) -> onnx.ModelProto:
    """A copy of the model that gives the tensors as further outputs."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    present = {value.name for value in model.graph.output}
    copy.graph.output.extend(
        onnx.ValueInfoProto(name=tensor.value) for tensor in tensors if tensor.value not in present
    )
    return copy


def _of_known_type(
    session: onnxruntime.InferenceSession, tensors: Sequence[Readable]
) -> list[Readable]:
    types = {output.name: output.type for output in session.get_outputs()}
    return [
        tensor
        for tensor in tensors
        if tensor.params is not None or types[tensor.value] == "tensor(float)"
    ]


def _input_spec(value: onnx.ValueInfoProto, kind: str, view: QdqView, *, alone: bool) -> TensorSpec:
    params, dtype = view.input_params(value.name), _DTYPES.get(kind)
    numbers = dtype in ("float32", *WHOLE_NUMBERS) or view.takes_pixels(value.name)
    if dtype is None or (params is None and not numbers):
        raise ArtefactError(
            f"the input {value.name!r} is a {kind} without a scale, and edgeq feeds real numbers",
            hint="export with a float input, or with a DequantizeLinear behind an integer one, "
            "or a Cast behind a uint8 one",
        )
    shape, batched = sample_shape(value, alone=alone)
    return TensorSpec(
        value.name,
        shape,
        dtype,
        None if dtype == "float32" else params,
        batched=batched,
        rows=view.rows_picked(value.name),
    )


def _output_spec(name: str, values: NDArray[Any], view: QdqView) -> TensorSpec:
    shape = values.shape if isinstance(values, np.ndarray) else "of a sequence"
    if not isinstance(shape, tuple) or shape[:1] != (1,):
        raise ArtefactError(
            f"the output {name!r} has the shape {shape} for a batch of one",
            hint="give the output a batch dimension",
        )
    if values.dtype.kind not in "biuf":
        raise ArtefactError(
            f"the output {name!r} is text, and edgeq compares numbers",
            hint="cut the model before what makes text of numbers, by edgeq calibrate --outputs",
        )
    return TensorSpec(name, shape[1:], str(values.dtype), view.output_params(name))
