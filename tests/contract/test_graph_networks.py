"""The exactness contract for graph networks.

Torch, ONNX Runtime and TFLite's reference kernels agree in integers.

Every quantised tensor is computed from torch's own integers of the tensor before it. A float64
computation says how near to a tie each number was: only there may an integer differ, and by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from tests.support.models.graphs import NODES, two_rings
from torch import Tensor

from edgeq.data import load_graph
from edgeq.errors import ArtefactError, UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter as onnx
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.exporters.tflite import exporter as tflite
from edgeq.exporters.torch.graph_network import lower_graph
from edgeq.formats.dialect import CANONICAL
from edgeq.formats.onnx_io import serialize
from edgeq.models.pde_gcn import DiffusionStep, PdeGcn, SparseGradient
from edgeq.qdq.segments import cut
from edgeq.training.graph.description import describe
from edgeq.training.graph.quantization import observe_bounds, quantize_graph
from edgeq.training.graph.recipe import GraphScheme
from edgeq.training.quantizers.learned_clip import LearnedClip

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    OnGrids = Mapping[str, tuple[NDArray[np.int64], LearnedClip]]

NEAR_A_TIE = 1e-4  # LSB: over a hundred times what float32 loses in sums as short as these
CASES = [
    (symmetric, weight_bits, act_bits)
    for symmetric in (True, False)
    for weight_bits, act_bits in ((4, 4), (4, 8), (8, 8), (32, 4))
]


def trained(
    symmetric: bool, weight_bits: int, act_bits: int, layers: int = 4
) -> tuple[PdeGcn, SparseGradient, Tensor]:
    data = two_rings()
    torch.manual_seed(0)
    net = PdeGcn(8, classes=2, in_channels=12, symmetric=symmetric, layers=layers).eval()
    for parameter in net.steps.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    graph, x = (
        SparseGradient.once(torch.from_numpy(data.edges), NODES),
        torch.from_numpy(data.normalized()),
    )
    net = quantize_graph(net, GraphScheme(weight_bits, act_bits, bound=0))
    observe_bounds(net, x, graph)
    return net, graph, x


def steps_of(net: PdeGcn) -> list[DiffusionStep]:
    return [step for step in net.steps if isinstance(step, DiffusionStep)]


@torch.inference_mode()
def on_grids(
    net: PdeGcn, graph: SparseGradient, x: Tensor
) -> dict[str, tuple[NDArray[np.int64], LearnedClip]]:
    """The integers of every quantised tensor as torch computes them, by name.

    Each must lie on its grid bit for bit.
    """
    found: dict[str, tuple[NDArray[np.int64], LearnedClip]] = {}

    def keep(name: str) -> Any:
        def hook(clip: LearnedClip, _inputs: object, out: Tensor) -> None:
            integers = (out / clip.scale).round()
            assert torch.equal(integers * clip.scale, out)
            found[name] = integers.numpy().astype(np.int64), clip

        return hook

    for number, step in enumerate(steps_of(net)):
        step.quantize_state.register_forward_hook(keep(f"steps_{number}_state"))
        step.quantize_inner.register_forward_hook(keep(f"steps_{number}_inner"))
    net(x, graph)
    return found


@torch.inference_mode()
def positions(net: PdeGcn, graph: SparseGradient, x: Tensor, integers: OnGrids) -> dict[str, Any]:
    """Where each value lies on its grid before rounding, in LSB.

    In float64, from torch's integers of the tensor before.
    """
    real = {
        name: torch.from_numpy(centered) * clip.scale.double()
        for name, (centered, clip) in integers.items()
    }
    exact = graph.double()
    state = torch.relu(x.double() @ net.open.weight.double().T)
    found = {}
    for number, step in enumerate(steps_of(net)):
        here, inside = f"steps_{number}_state", f"steps_{number}_inner"
        k1 = step.quantize_k1(step.k1).double()
        k2 = k1.T if step.k2 is None else step.quantize_k2(step.k2).double()
        found[here] = state / integers[here][1].scale.double()
        found[inside] = (
            torch.tanh(exact.gradient(real[here] @ k1.T)) / integers[inside][1].scale.double()
        )
        state = real[here] - step.step_size * exact.adjoint(real[inside] @ k2.T)
    graph.float()
    return {name: values.numpy() for name, values in found.items()}


def session(content: bytes, level: ort.GraphOptimizationLevel) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def computed(model: ir.Model, x: Tensor, integers: OnGrids, level: Any) -> dict[str, Any]:
    """ONNX Runtime's centered integers of each tensor, fed with torch's of the one before."""
    pieces = cut(model)
    assert {each.name for each in pieces.cuts} == integers.keys()
    feeds: dict[str, Any] = {"input": x.numpy()}
    for each in pieces.cuts:
        zero = int(each.params.zero_point)
        assert np.float32(each.params.scale) == integers[each.name][1].scale.detach().numpy(), (
            "the very scale"
        )
        if each.feed is not None:
            feeds[each.feed] = (integers[each.name][0] + zero).astype(np.uint8)
    answers = session(serialize(pieces.model), level).run(
        [each.output for each in pieces.cuts], feeds
    )
    return {
        each.name: np.asarray(a).astype(np.int64) - int(each.params.zero_point)
        for each, a in zip(pieces.cuts, answers, strict=True)
    }


@pytest.mark.parametrize("dense", [False, True], ids=["gathered", "dense"])
@pytest.mark.parametrize(("symmetric", "weight_bits", "act_bits"), CASES)
def test_torch_and_onnx_runtime_agree_in_integers(
    symmetric: bool, weight_bits: int, act_bits: int, dense: bool
) -> None:
    net, graph, x = trained(symmetric, weight_bits, act_bits)
    integers = on_grids(net, graph, x)
    exact = positions(net, graph, x, integers)
    model = to_dialect(lower_graph(describe(net, graph), dense=dense), CANONICAL)
    plain = computed(model, x, integers, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    for name, (centered, clip) in integers.items():
        tie = np.abs(np.abs(exact[name] - np.floor(exact[name])) - 0.5) < NEAR_A_TIE
        limited = np.clip(np.rint(exact[name]), clip.qmin, clip.qmax)
        assert np.array_equal(centered[~tie], limited[~tie]), f"{name}: torch"
        assert np.array_equal(plain[name][~tie], centered[~tie]), f"{name}: ONNX Runtime"
        assert np.abs(plain[name] - centered).max() <= 1
        assert len(np.unique(centered)) > 3, "a test of zeros shows nothing"
    optimised = computed(model, x, integers, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    assert all(np.abs(optimised[name] - plain[name]).max() <= 1 for name in plain)


@pytest.mark.slow
@pytest.mark.parametrize("symmetric", [True, False])
def test_cora_agrees_too(data_dir: Path, symmetric: bool) -> None:
    data = load_graph("cora", data_dir)
    torch.manual_seed(0)
    net = PdeGcn(64, classes=7, in_channels=data.shape[1], symmetric=symmetric).eval()
    for parameter in net.steps.parameters():
        parameter.data += torch.randn(64, 64) * 0.05
    net = quantize_graph(net, GraphScheme(4, 4, bound=0))
    graph, x = (
        SparseGradient.once(torch.from_numpy(data.edges.copy()), data.nodes),
        torch.from_numpy(data.normalized()),
    )
    observe_bounds(net, x, graph)
    integers = on_grids(net, graph, x)
    found = computed(
        lower_graph(describe(net, graph)), x, integers, ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    different = [np.abs(found[name] - centered) for name, (centered, _) in integers.items()]
    assert max(int(each.max()) for each in different) <= 1
    assert sum(int(each.sum()) for each in different) <= 1e-5 * sum(
        each.size for each in different
    ), "at ties, which are rare"


def test_a_scale_off_by_a_hundredth_is_seen() -> None:
    net, graph, x = trained(True, 4, 8)
    integers = on_grids(net, graph, x)
    with torch.no_grad():
        steps_of(net)[1].k1.mul_(1.01)
        for clip in steps_of(net)[1].quantize_k1.modules():
            if isinstance(clip, LearnedClip):
                clip.alpha.mul_(1.01)
    found = computed(
        lower_graph(describe(net, graph)), x, integers, ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    wrong = [
        name
        for name, (centered, _) in integers.items()
        if not np.array_equal(found[name], centered)
    ]
    assert wrong[0] == "steps_1_inner"


def test_an_operator_and_its_transpose_are_stored_once() -> None:
    net, graph, _ = trained(True, 4, 8)
    exported = onnx.export(lower_graph(describe(net, graph)), ExportOptions())
    assert exported.parity.different == ()
    assert exported.parity.weights == 4 * 8 * 8


@pytest.mark.parametrize(("symmetric", "weight_bits", "act_bits"), CASES)
def test_the_dense_form_is_exact_as_tflite_in_float_fallback_regions(
    symmetric: bool, weight_bits: int, act_bits: int
) -> None:
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    net, graph, x = trained(symmetric, weight_bits, act_bits)
    model = lower_graph(describe(net, graph), dense=True)
    exported = tflite.export(model, ExportOptions(allow_float=True, io_type="float32"))
    assert exported.parity.different == ()
    assert exported.approximations == ()
    kernels = interpreter_module.OpResolverType.BUILTIN_REF
    interpreter = interpreter_module.Interpreter(
        model_content=exported.content,
        experimental_op_resolver_type=kernels,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x.numpy())
    interpreter.invoke()
    places = {detail["name"]: detail for detail in interpreter.get_tensor_details()}
    for name, (centered, _) in on_grids(net, graph, x).items():
        zero = int(places[name]["quantization"][1])
        assert np.array_equal(
            interpreter.get_tensor(places[name]["index"]).astype(np.int64) - zero, centered
        ), name
    with torch.inference_mode():
        expected = net(x, graph).numpy()
    assert (
        np.abs(
            interpreter.get_tensor(interpreter.get_output_details()[0]["index"]) - expected
        ).max()
        < 1e-6
    )


def test_no_sum_is_lost_on_several_threads() -> None:
    """ONNX Runtime's ScatterND loses some, now and then.

    Many edges to few nodes show it within some hundred runs.
    """
    torch.manual_seed(0)
    edges = torch.stack([torch.arange(1, 4000), torch.zeros(3999, dtype=torch.int64)])
    graph = SparseGradient(edges, 4000)
    net = quantize_graph(
        PdeGcn(64, classes=2, in_channels=3, symmetric=True, layers=1).eval(),
        GraphScheme(8, 8, bound=2.0),
    )
    content = serialize(lower_graph(describe(net, graph)))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 4
    runner = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    x = torch.rand(4000, 3).numpy()
    answers = [np.asarray(runner.run(None, {"input": x})[0]) for _ in range(30)]
    assert all(np.array_equal(answer, answers[0]) for answer in answers)


def test_the_dense_matrices_are_stored_once_for_all_steps() -> None:
    nodes = 600
    edges = torch.stack([torch.arange(nodes - 1), torch.arange(1, nodes)])
    graph = SparseGradient.once(torch.cat([edges, edges.flip(0)], 1), nodes)
    net = quantize_graph(
        PdeGcn(4, classes=2, in_channels=3, symmetric=True, layers=4).eval(), GraphScheme(4, 8)
    )
    exported = tflite.export(
        lower_graph(describe(net, graph), dense=True),
        ExportOptions(allow_float=True, io_type="float32"),
    )
    matrices = 2 * nodes * (nodes - 1) * 4
    assert matrices < exported.size_bytes < 1.1 * matrices


class TestRefusals:
    def test_tflite_cannot_add_up_rows(self) -> None:
        net, graph, _ = trained(True, 4, 8, layers=1)
        with pytest.raises(ArtefactError, match="ScatterElements"):
            tflite.export(lower_graph(describe(net, graph)), ExportOptions(allow_float=True))

    def test_tflite_keeps_no_island_unasked(self) -> None:
        net, graph, _ = trained(True, 4, 8, layers=1)
        with pytest.raises(ArtefactError, match="no quantiser follows it"):
            tflite.export(lower_graph(describe(net, graph), dense=True), ExportOptions())

    def test_the_released_quantiser_has_no_file(self) -> None:
        net, graph, _ = trained(True, 4, 8, layers=1)
        with pytest.raises(UsageError, match="no level at zero"):
            describe(
                quantize_graph(
                    PdeGcn(8, classes=2, in_channels=12, symmetric=True, layers=1),
                    GraphScheme(32, 4, "released"),
                ),
                graph,
            )
        assert net.steps

    def test_a_graph_too_large_to_be_dense(self) -> None:
        large = SparseGradient(torch.stack([torch.arange(19_999), torch.arange(1, 20_000)]), 20_000)
        net = PdeGcn(8, classes=2, in_channels=12, symmetric=True, layers=1)
        with pytest.raises(ArtefactError, match="more than the 2147483648 of a file"):
            lower_graph(describe(net, large), dense=True)
