"""Every operator of the table at the corners of its sizes, modes, grids and numbers.

The right integers, or a refusal by name.

A search, not a list: what is drawn is run in ONNX Runtime without optimisation, and whatever edgeq
writes or computes for it must agree. It may refuse, with an error of its own; it may never end in
another error, nor give another number.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # hypothesis reads the types of what it is given
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from tests.exporters.tflite.test_random_graphs import CALM, Recipe
from tests.support.models.corners.families import FAMILIES
from tests.support.models.qdq_models import (
    KERNELS,
    axes_of,
    lsb_of,
    onnx_integers,
    stored,
    tflite_outputs,
)
from tests.support.runtimes.emulation import differing

from edgeq.errors import ArtefactError, TargetError
from edgeq.exporter import ExportOptions
from edgeq.exporters import onnx as onnx_exporter
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.legalize import legalize
from edgeq.exporters.tflite.storage import choose_storage
from edgeq.qdq.ir import QdqTensor
from edgeq.qdq.op_traits import traits_of
from edgeq.qdq.reader import read_qdq
from edgeq.targets import ort, tflite
from edgeq.targets.emulator import emulator

if TYPE_CHECKING:
    from tests.support.models.qdq_models import Graph

    from edgeq.exporter import Exported, Exporter
    from edgeq.qdq.ir import QdqGraph
    from edgeq.target import Target

SAMPLES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corners")


def numbers(graph: Graph, view: QdqGraph, kind: str) -> np.ndarray:
    """What a graph is fed with.

    Integers of its input's grid, the ends and the zero among them, or numbers between and beyond
    them.
    """
    (tensor,) = view.inputs
    samples = SAMPLES if view.dynamic_batch else 1
    shape = (samples, *tensor.shape[1:])
    ends = [
        tensor.low,
        tensor.high,
        tensor.zero_point,
        min(tensor.zero_point + 1, tensor.high),
        max(tensor.zero_point - 1, tensor.low),
    ]
    if kind == "corners":
        integers = graph.rng.choice(ends, shape).astype(np.float64)
    elif kind == "any":
        integers = graph.rng.integers(tensor.low, tensor.high + 1, shape).astype(np.float64)
    elif kind == "one":
        integers = np.full(shape, graph.rng.choice(ends), np.float64)
    else:
        middle = (tensor.low + tensor.high) / 2
        integers = np.rint(graph.rng.normal(middle, 2 * (tensor.high - tensor.low), shape)) + 0.5
    return ((integers - tensor.zero_point) * float(tensor.scale)).astype(np.float32)


def wrong(recipe: Recipe, kind: str, kernels: str, folder: Path) -> list[str]:
    """What is wrong with what edgeq makes of a graph; empty if nothing is."""
    graph = recipe.build()
    proto = graph.proto(graph.nodes[-1].output[0])
    try:
        view = legalize(
            read_qdq(ir.from_proto(proto), float_fallback=True), approximate=False
        ).graph
        written = _exported(exporter, proto)
    except ArtefactError:
        return []  # refused by name
    fed = numbers(graph, view, kind)
    known = {value for node in proto.graph.node for value in node.output}
    names = [f"{name}_quantized" for name in view.tensors() if f"{name}_quantized" in known]
    end = graph.nodes[-1].output[0]
    try:
        found = onnx_integers(proto, {"x": fed}, [*names, end])
    except Exception:  # noqa: BLE001  # the runtime has many; a model that it does not run is not valid
        reject()
    integers = {
        name.removesuffix("_quantized"): values for name, values in found.items() if name in names
    }
    return [
        *(
            []
            if written is None
            else _wrong_in_tflite(written, view, integers, found[end], fed, kernels, folder)
        ),
        *_wrong_in_onnx(proto, found[end], float(graph.scales.get(end, 1.0)), fed, folder),
    ]


def _wrong_in_tflite(
    exported: Exported,
    view: QdqGraph,
    integers: dict[str, np.ndarray],
    end: np.ndarray,
    fed: np.ndarray,
    kernels: str,
    folder: Path,
) -> list[str]:
    content: Any = exported.content
    told = list(exported.parity.different)
    for op in view.ops:
        if not all(o.name in integers for o in (*op.inputs, op.output) if isinstance(o, QdqTensor)):
            continue
        most = 0 if traits_of(op.op_type).moves else 1
        off = np.abs(lsb_of(op, integers, kernels)).max(initial=0)
        told += [f"{op.op_type} is {off} LSB off on {kernels}"] if off > most else []
    if view.outputs[0].epilogue == "argmax":
        axes = axes_of(content)
        input_info = view.inputs[0]
        feed = stored(
            input_info,
            integers[input_info.name],
            choose_storage(view)[input_info.name],
            axes[input_info.graph_input],
        )
        answer = tflite_outputs(content, [feed], kernels)[0].transpose(
            np.argsort(axes[view.outputs[0].name])
        )
        told += [f"the place is another on {kernels}"] if not np.array_equal(answer, end) else []
    path = folder / "model.tflite"
    path.write_bytes(content)
    return told + _emulated(path, tflite.reference, fed, "TFLite")


def _wrong_in_onnx(
    proto: onnx.ModelProto, end: np.ndarray, step: float, fed: np.ndarray, folder: Path
) -> list[str]:
    path = folder / "model.onnx"
    onnx.save(proto, path)
    told = _emulated(path, ort.cpu_reference, fed, "ONNX")
    portable = _exported(onnx_exporter.exporter, proto)
    if portable is None or not _opens(ort.cpu_reference, path):
        return told
    path.write_bytes(portable.content)
    for target, most in ((ort.cpu_reference, 0), (ort.cpu, 1)):
        with target.open(path) as session:
            off = (
                np.abs(session.run(fed).reshape(end.shape).astype(np.float64) - end).max(initial=0)
                / step
            )
        told += (
            [f"the portable file is {off:g} LSB off on {target.capabilities.summary}"]
            if off > most + 1e-3
            else []
        )
    return told


def _exported(by: Exporter, proto: onnx.ModelProto) -> Exported | None:
    """What an exporter writes; None where it refuses by name."""
    try:
        return by.export(ir.from_proto(proto), ExportOptions())
    except ArtefactError:
        return None


def _opens(target: Target, path: Path) -> bool:
    """Whether a target takes a file; one that does not says so by name."""
    try:
        with target.open(path):
            pass
    except (ArtefactError, TargetError):
        return False
    return True


def _emulated(path: Path, real: Target, fed: np.ndarray, kind: str) -> list[str]:
    if not _opens(emulator, path) or not _opens(real, path):
        return []
    return [
        f"{count} integers of {name} are others in the emulator of {kind}"
        for name, count in differing(path, real, emulator, fed).items()
    ]


def check(recipe: Recipe, kind: str, kernels: str, folder: Path) -> None:
    told = wrong(recipe, kind, kernels, folder)
    if told:
        pytest.fail("\n".join([*told, f"fed with {kind}:", recipe.script(kernels)]), pytrace=False)


KINDS, SETS = st.sampled_from(["corners", "any", "one", "beyond"]), st.sampled_from(sorted(KERNELS))


@pytest.mark.parametrize("part", range(4))
def test_right_or_refused(part: int, folder: Path) -> None:
    for family in sorted(FAMILIES)[part::4]:
        _search(family, folder)


def _search(family: str, folder: Path) -> None:
    @settings(
        max_examples=2, deadline=None, derandomize=True, database=None, suppress_health_check=CALM
    )
    @given(FAMILIES[family](), KINDS, SETS)
    def search(recipe: Recipe, kind: str, kernels: str) -> None:
        check(recipe, kind, kernels, folder)

    search()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", FAMILIES)
def test_right_or_refused_thousands_of_times(family: str, folder: Path) -> None:
    @settings(max_examples=1000, deadline=None, suppress_health_check=CALM)
    @given(FAMILIES[family](), KINDS, SETS)
    def search(recipe: Recipe, kind: str, kernels: str) -> None:
        check(recipe, kind, kernels, folder)

    search()
