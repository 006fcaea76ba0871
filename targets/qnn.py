"""Qualcomm's Hexagon tensor processor (HTP), in a worker.

The library that phones run, simulating the processor on a PC.

Three things that files of others hold are refused here by name. A Clip on integers is refused by
QNN too, in words about a layout. A float Clip between two equal Q/DQ pairs with a bound on one side
only is computed as if it were not there, up to 240 LSB off, and biases beyond 29 bits may wrap
around: both seen with QNN 2.51, and ``tests/targets/test_qnn.py`` sees them again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.errors import TargetError
from edgeq.formats.dialect import SATURATING
from edgeq.target import Capabilities, ChainLink
from edgeq.targets.common.probe import require_format
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from edgeq.plan import Plan
    from edgeq.targets.workers.session import WorkerSession

_BIAS_BITS = 29  # 2^28 is right and 2^29 wrong; between them the HTP's own rescaling decides


@dataclass(frozen=True, slots=True)
class QnnTarget(WorkerTarget):
    """QNN's HTP; it wants a fixed batch, and gets a batch of one."""

    def open(
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> WorkerSession:
        """Load an ONNX model; see :meth:`edgeq.target.Target.open`."""
        from edgeq.targets.workers.boundary import read

        fixed = _batch_of_one(self._load(artefact))
        return self.start(
            replace(read(artefact), content=fixed), threads=threads, intermediates=intermediates
        )

    def plan(self, artefact: Path, *, threads: int = 1) -> Plan:
        """Which operators run in integers.

        The HTP takes all of a model or none. See :meth:`edgeq.plan.Planner.plan`.
        """
        from edgeq.targets.plans.qnn import plan_of

        with self.open(artefact, threads=threads):
            return plan_of(self._load(artefact))

    def _load(self, artefact: Path) -> onnx.ModelProto:
        """The model, if nothing in it is known to come out wrong.

        Raises:
            TargetError: something is; names it.
        """
        import onnx_ir as ir

        from edgeq.formats.onnx_io import load
        from edgeq.targets.common.preflight import integer_clip, large_bias, one_sided_clip
        from edgeq.targets.plans.onnx_graph import in_qdq

        require_format(artefact, self.capabilities)
        model = in_qdq(load(artefact))
        graph = ir.from_proto(model).graph
        if found := integer_clip(graph):
            raise TargetError(
                f"the HTP knows no such operator: {found}",
                hint=f"edgeq export {artefact} --for {self.name}",
            )
        if found := one_sided_clip(graph):
            raise TargetError(
                f"the HTP would leave out what bounds a tensor: {found}",
                hint="write it as Relu, or as Max or Min with a constant",
            )
        if found := large_bias(graph, _BIAS_BITS):
            raise TargetError(
                f"the HTP lets biases of more than {_BIAS_BITS} bits wrap around: {found}",
                hint="the scale of that layer's weights is far too small: train or calibrate "
                "it again",
            )
        return model


def _batch_of_one(model: onnx.ModelProto) -> bytes:
    """The file with its first dimension fixed, wherever it is free."""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1  # takes the place of a name
    content: bytes = model.SerializeToString()
    return content


htp = QnnTarget(
    name="qnn-htp",
    capabilities=Capabilities(
        formats=frozenset({"onnx"}),
        storage_dtypes=frozenset({"uint8", "int8"}),
        per_channel=True,
        intermediates=False,
        latency="simulated",
        summary="Qualcomm's Hexagon NPU, simulated by its own library; the whole graph or nothing",
        dialect=SATURATING,
        on_request=True,  # it takes no files but those of its dialect, and its time
        link=ChainLink(90, ("quantisation", "lowering", "graph optimisation", "kernel rounding")),
    ),
    engine="qnn",
    requirements=("onnxruntime-qnn==2.7.0", "onnxruntime==1.31.1"),
    modules=("onnxruntime_qnn", "onnxruntime"),
)
