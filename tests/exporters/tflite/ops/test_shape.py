"""Data movement is bit-exact, and moves nothing where renaming axes is enough."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper
from tests.support.models.qdq_models import (
    KERNELS,
    S8,
    U4,
    U8,
    Graph,
    Grid,
    onnx_integers,
    operators,
    tflite_outputs,
)

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.storage import choose_storage
from edgeq.exporters.tflite.writer import write
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeq.qdq.ir import QdqTensor

Q = Grid(0.02, 128)


def ints(graph: Graph, name: str, *values: int) -> str:
    return graph.constant(name, np.array(values, np.int64))


def concat(graph: Graph) -> str:
    a, b = graph.input("a", ["N", 3, 6, 8], Q), graph.input("b", ["N", 5, 6, 8], Q)
    return graph.op("Concat", [a, b], "y", Q, axis=1)


def concat_regridded(graph: Graph) -> str:
    a, b = graph.input("a", ["N", 3, 6, 8], U8), graph.input("b", ["N", 5, 6, 8], U4)
    return graph.op("Concat", [a, b], "y", U8, axis=-3)


def sliced(graph: Graph) -> str:
    x = graph.input("x", ["N", 6, 6, 8], Q)
    parameters = [
        ints(graph, "starts", 1, -6),
        ints(graph, "ends", 4, 2**62),
        ints(graph, "axes", 1, 3),
    ]
    return graph.op("Slice", [x, *parameters], "y", Q)


def strided(graph: Graph) -> str:
    x = graph.input("x", ["N", 6, 7, 8], Q)
    parameters = [
        ints(graph, "starts", 0, 1),
        ints(graph, "ends", 99, 99),
        ints(graph, "axes", 2, 3),
        ints(graph, "steps", 2, 3),
    ]
    return graph.op("Slice", [x, *parameters], "y", Q)


def reversed_(graph: Graph) -> str:
    x = graph.input("x", ["N", 6, 6, 8], Q)
    parameters = [
        ints(graph, "starts", -1),
        ints(graph, "ends", -99),
        ints(graph, "axes", 3),
        ints(graph, "steps", -1),
    ]
    return graph.op("Slice", [x, *parameters], "y", Q)


def padded(graph: Graph) -> str:
    x = graph.input("x", ["N", 4, 6, 8], Q)
    return graph.op("Pad", [x, ints(graph, "pads", 0, 2, 1, 0, 0, 3, 0, 4)], "y", Q)


def image(graph: Graph, *shape: int) -> str:
    """An input that a pooling tells to be an image; it changes nothing."""
    return graph.op(
        "MaxPool", [graph.input("x", ["N", *shape], Q)], "image", Q, kernel_shape=[1, 1]
    )


def flattened(graph: Graph) -> str:
    return graph.op("Flatten", [image(graph, 4, 6, 8)], "y", Q)


def flattened_rows(graph: Graph) -> str:
    return graph.op("Flatten", [graph.input("x", ["N", 4, 6, 8], Q)], "y", Q)


def flattened_pixel(graph: Graph) -> str:
    return graph.op("Flatten", [graph.input("x", ["N", 9, 1, 1], Q)], "y", Q)


def reshaped(graph: Graph) -> str:
    x = graph.input("x", ["N", 24], Q)
    return graph.op("Reshape", [x, ints(graph, "shape", -1, 24, 1, 1)], "y", Q)


def squeezed(graph: Graph) -> str:
    return graph.op(
        "Squeeze", [graph.input("x", ["N", 9, 1, 1], Q), ints(graph, "axes", 2, 3)], "y", Q
    )


def unsqueezed(graph: Graph) -> str:
    return graph.op("Unsqueeze", [graph.input("x", ["N", 9], Q), ints(graph, "axes", 2, 3)], "y", Q)


def transposed(graph: Graph) -> str:
    return graph.op("Transpose", [image(graph, 4, 6, 8)], "y", Q, perm=[0, 2, 3, 1])


def transposed_rows(graph: Graph) -> str:
    return graph.op("Transpose", [graph.input("x", ["N", 4, 6, 8], Q)], "y", Q, perm=[0, 2, 3, 1])


def swapped(graph: Graph) -> str:
    return graph.op("Transpose", [graph.input("x", ["N", 4, 6, 8], Q)], "y", Q, perm=[0, 1, 3, 2])


def transposed_input(graph: Graph) -> str:
    x = graph.op("Transpose", [graph.input("x", ["N", 6, 8, 4], Q)], "turned", Q, perm=[0, 3, 1, 2])
    return graph.op("MaxPool", [x], "y", Q, kernel_shape=[1, 1])


def reshaped_input(graph: Graph) -> str:
    x = graph.op(
        "Reshape",
        [graph.input("x", ["N", 6, 8, 1], Q), ints(graph, "shape", -1, 1, 6, 8)],
        "row",
        Q,
    )
    return graph.op("MaxPool", [x], "y", Q, kernel_shape=[1, 1])


def split(graph: Graph) -> str:
    x = graph.input("x", ["N", 6, 4, 4], Q)
    graph.nodes.append(helper.make_node("Split", [x], ["left", "right"], axis=1, num_outputs=2))
    return graph.op("Concat", ["right", "left"], "y", Q, axis=1)


def padded_by(pads: Sequence[int], mode: str) -> Callable[[Graph], str]:
    def build(graph: Graph) -> str:
        return graph.op(
            "Pad",
            [graph.input("x", ["N", 4, 6, 8], Q), ints(graph, "pads", *pads)],
            "y",
            Q,
            mode=mode,
        )

    return build


def tiled(repeats: Sequence[int]) -> Callable[[Graph], str]:
    return lambda graph: graph.op(
        "Tile", [graph.input("x", ["N", 4, 6, 8], Q), ints(graph, "repeats", *repeats)], "y", Q
    )


def expanded(shape: Sequence[Any], wanted: Sequence[int]) -> Callable[[Graph], str]:
    return lambda graph: graph.op(
        "Expand", [graph.input("x", shape, Q), ints(graph, "wanted", *wanted)], "y", Q
    )


def blocks(op: str, channels: int, **attributes: Any) -> Callable[[Graph], str]:
    return lambda graph: graph.op(
        op, [graph.input("x", ["N", channels, 4, 6], Q)], "y", Q, blocksize=2, **attributes
    )


CASES: dict[str, tuple[Callable[[Graph], str], list[str]]] = {
    "concat": (concat, ["CONCATENATION"]),
    "concat of other grids": (concat_regridded, ["MAXIMUM", "QUANTIZE", "CONCATENATION"]),
    "slice": (sliced, ["SLICE"]),
    "strided slice": (strided, ["STRIDED_SLICE"]),
    "reversed": (reversed_, ["STRIDED_SLICE"]),
    "pad": (padded, ["PAD"]),
    "flatten of an image": (flattened, ["MAX_POOL_2D", "TRANSPOSE", "RESHAPE"]),
    "flatten of what is no image": (flattened_rows, ["RESHAPE"]),
    "flatten of a pixel": (flattened_pixel, ["RESHAPE"]),
    "reshape to a pixel": (reshaped, ["RESHAPE"]),
    "squeeze": (squeezed, ["RESHAPE"]),
    "unsqueeze": (unsqueezed, ["RESHAPE"]),
    "transpose to an NHWC output": (transposed, ["MAX_POOL_2D"]),
    "transpose of what is no image": (transposed_rows, ["TRANSPOSE"]),
    "transpose of its own": (swapped, ["TRANSPOSE"]),
    "transpose of an NHWC input": (transposed_input, ["MAX_POOL_2D"]),
    "reshape of an NHWC input": (reshaped_input, ["RESHAPE", "MAX_POOL_2D"]),
    "cropped": (padded_by([0, 0, -1, -2, 0, 0, -1, 0], "constant"), ["SLICE"]),
    "cropped and padded": (padded_by([0, -1, 2, -1, 0, 0, -3, 1], "constant"), ["SLICE", "PAD"]),
    "reflected": (padded_by([0, 0, 2, 1, 0, 0, 3, 0], "reflect"), ["GATHER", "GATHER"]),
    "reflected and cropped": (
        padded_by([0, 0, 2, -1, 0, 0, -1, 3], "reflect"),
        ["GATHER", "GATHER"],
    ),
    "padded by the edge": (padded_by([0, 1, 0, 9, 0, 0, 0, 2], "edge"), ["GATHER", "GATHER"]),
    "padded all the way round": (padded_by([0, 0, 6, 0, 0, 0, 2, 0], "wrap"), ["GATHER"]),
    "tile": (tiled([1, 2, 1, 3]), ["GATHER", "GATHER"]),
    "tile of nothing": (tiled([1, 1, 1, 1]), ["RESHAPE"]),
    "expand": (expanded(["N", 1, 6, 1], [1, 4, 6, 8]), ["GATHER", "GATHER"]),
    "expand to more axes": (expanded([3, 1], [2, 3, 4]), ["RESHAPE", "GATHER", "GATHER"]),
    "depth to space": (blocks("DepthToSpace", 12), ["DEPTH_TO_SPACE"]),
    "depth to space, columns first": (
        blocks("DepthToSpace", 12, mode="CRD"),
        ["GATHER", "DEPTH_TO_SPACE"],
    ),
    "space to depth": (blocks("SpaceToDepth", 3), ["SPACE_TO_DEPTH"]),
    "split": (split, ["SLICE", "SLICE", "CONCATENATION"]),
}


def axes_of(content: bytes) -> dict[str, list[int]]:
    """The ONNX axis of each dimension of the boundary tensors, as the file itself states them."""
    model = schema.ModelT.InitFromPackedBuf(content)
    entry = next(entry for entry in model.metadata if entry.name == b"edgeq")
    found: dict[str, list[int]] = json.loads(bytes(model.buffers[entry.buffer].data))["io"]["axes"]
    return found


def built(case: str) -> Graph:
    graph = Graph()
    CASES[case][0](graph)
    return graph


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_moved_integers_are_equal(case: str, kernels: str) -> None:
    graph = built(case)
    view = read_qdq(graph.output())
    shapes = {
        t.graph_input: (3, *t.shape[1:]) if view.dynamic_batch else t.shape for t in view.inputs
    }
    feeds = {
        name: graph.rng.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()
    }
    names = ["y_quantized", *(f"{t.name}_quantized" for t in view.inputs)]
    integers = onnx_integers(graph.proto("y_dequantized"), feeds, names)
    storages, content = choose_storage(view), write(view, ExportOptions()).content
    axes = axes_of(content)

    def stored(tensor: QdqTensor, name: str) -> np.ndarray:
        file = tensor.name if tensor.is_input else "y"
        return (
            (integers[f"{file}_quantized"].astype(np.int32) + storages[tensor.name].shift)
            .astype(np.int8)
            .transpose(axes[name])
        )

    found = tflite_outputs(
        content, [stored(tensor, tensor.graph_input) for tensor in view.inputs], kernels
    )[0]
    wanted = stored(view.outputs[0].tensor, "y_dequantized")
    if case == "concat of other grids":
        assert np.abs(found.astype(int) - wanted).max() <= 1
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case not in ("concat", "concat of other grids", "expand to more axes")
    ],
)
def test_the_emulator_moves_alike(case: str, kind: str, tmp_path: Path) -> None:
    graph = built(case)
    view = read_qdq(graph.output())
    image = graph.rng.normal(0, 1, (1, *view.inputs[0].shape[1:])).astype(np.float32)
    proto = graph.proto("y_dequantized")
    wanted = onnx_integers(proto, {"x": image}, ["y_quantized"])["y_quantized"].astype(int)
    content = exporter.export(graph.output(), ExportOptions()).content
    path = tmp_path / f"net.{kind}"
    path.write_bytes(proto.SerializeToString() if kind == "onnx" else content)
    with TARGETS.load("emulator").open(path) as session:
        found = np.rint(session.run(image) / np.float32(Q.scale)).astype(int) + Q.zero
    np.testing.assert_array_equal(
        found if kind == "onnx" else found.transpose(np.argsort(axes_of(content)["y_dequantized"])),
        wanted,
    )


@pytest.mark.parametrize("case", CASES)
def test_data_is_moved_only_where_it_has_to_be(case: str) -> None:
    exported = exporter.export(built(case).output(), ExportOptions())
    assert exported.parity.different == ()
    assert operators(exported.content) == CASES[case][1]


def test_transposes_are_counted() -> None:
    assert write(read_qdq(built("flatten of an image").output()), ExportOptions()).transposes == 1
    assert write(read_qdq(built("concat").output()), ExportOptions()).transposes == 0


def test_padding_with_another_number_than_zero_is_refused() -> None:
    graph = Graph()
    x = graph.input("x", [1, 4, 6, 8], S8)
    graph.op(
        "Pad",
        [x, ints(graph, "pads", 0, 0, 1, 1, 0, 0, 1, 1), graph.constant("v", np.float32(1))],
        "y",
        S8,
    )
    with pytest.raises(ArtefactError, match="does not pad with zeros"):
        exporter.export(graph.output(), ExportOptions())


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (padded_by([0, 0, 0, -8, 0, 0, 0, 3], "constant"), "takes away more than there is"),
        (padded_by([0, 0, 0, 8, 0, 0, 0, 0], "reflect"), "pads an axis of 8 by 8 and 0"),
        (tiled([2, 1, 1, 1]), "repeats an open batch"),
    ],
)
def test_what_cannot_be_moved_is_refused_by_name(
    graph: Callable[[Graph], str], message: str
) -> None:
    built = Graph()
    graph(built)
    with pytest.raises(ArtefactError, match=message):
        exporter.export(built.output(), ExportOptions())
