"""OpenVINO's CPU plug-in, in a worker.

Two rules were found by running every operator on all zero points in both storage dtypes
(``tests/targets/test_openvino.py`` shows them on the runtime). A concatenation of int8 activations
that a convolution reads is taken for uint8 without a word, and other processors refuse int8
networks; uint8 is exact. And a Pad behind a zero point other than 0 changes that zero point for
every tensor that shares its constant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.errors import TargetError
from edgeq.formats.dialect import OPENVINO
from edgeq.target import Capabilities, ChainLink
from edgeq.targets.common.probe import require_format
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from edgeq.plan import Plan
    from edgeq.targets.workers.session import WorkerSession


@dataclass(frozen=True, slots=True)
class OpenVinoTarget(WorkerTarget):
    """OpenVINO, which is not given the files that it would compute wrongly."""

    def open(
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> WorkerSession:
        """Load an ONNX model; see :meth:`edgeq.target.Target.open`."""
        self._load(artefact)
        return WorkerTarget.open(self, artefact, threads=threads, intermediates=intermediates)

    def plan(self, artefact: Path, *, threads: int = 1) -> Plan:
        """Which operators run in integers; see :meth:`edgeq.plan.Planner.plan`."""
        from edgeq.targets.plans.onnx import marked
        from edgeq.targets.plans.openvino import plan_of
        from edgeq.targets.workers.boundary import read

        model = self._load(artefact)
        sent = replace(read(artefact), content=marked(model).SerializeToString())
        with self.start(sent, threads=threads) as session:
            return plan_of(model, session.layers)

    def _load(self, artefact: Path) -> onnx.ModelProto:
        """The model, if nothing in it trips the compiler.

        Raises:
            TargetError: something does; names it.
        """
        import onnx_ir as ir

        from edgeq.formats.onnx_io import load
        from edgeq.targets.common.preflight import foreign_storage_dtype, shared_pad_grid
        from edgeq.targets.plans.onnx_graph import in_qdq

        require_format(artefact, self.capabilities)
        model = in_qdq(load(artefact))
        graph = ir.from_proto(model).graph
        found = foreign_storage_dtype(graph, self.capabilities.storage_dtypes) or shared_pad_grid(
            graph
        )
        if found:
            raise TargetError(
                f"OpenVINO may compute {artefact.name} wrongly: {found}",
                hint=f"edgeq export {artefact} --for {self.name}",
            )
        return model


cpu = OpenVinoTarget(
    name="openvino",
    capabilities=Capabilities(
        formats=frozenset({"onnx"}),
        storage_dtypes=frozenset({"uint8"}),
        per_channel=True,
        intermediates=False,
        latency="measured",
        summary="OpenVINO's CPU plug-in, no bfloat16",
        dialect=OPENVINO,
        saturating_pairs="within",
        uint8_weight_cost=4.44,
        on_request=True,  # it takes no files but those of its dialect
        link=ChainLink(38, ("quantisation", "lowering", "graph optimisation", "kernel rounding")),
    ),
    engine="openvino",
    requirements=("openvino==2026.4.1",),
    modules=("openvino",),
    options={"precision": "f32"},
)
