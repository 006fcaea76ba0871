"""Operators that move numbers, calibrated.

Written in the few that integer kernels have, on the grid of what they read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper
from tests.support.checks.calibrated import CHANNELS, between, hold, weights

from edgeq.calibration.quantize import quantize_onnx

if TYPE_CHECKING:
    import onnx

node, single = helper.make_node, np.float32


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], list[str]]] = {
    "split": (
        [
            node("Split", ["c", "sizes"], ["a", "b"], axis=1),
            node("Concat", ["b", "a"], ["t"], axis=1),
        ],
        {"sizes": ints(2, 4)},
        ["Slice", "Slice", "Concat"],
    ),
    "slice of all axes": (
        [node("Slice", ["c", "starts", "ends"], ["t"])],
        {"starts": ints(0, 0, 2, 0), "ends": ints(2**31 - 1, 6, 7, 2**63 - 1)},
        ["Slice"],
    ),
    "gather": (
        [node("Gather", ["c", "places"], ["t"], axis=1)],
        {"places": ints(1, 0, 3, 2, 5, 4)},
        ["Gather"],
    ),
    "shuffle": (
        [
            node("Reshape", ["c", "apart"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["b", "together"], ["t"]),
        ],
        {"apart": ints(0, 2, 3, 8, 8), "together": ints(0, 6, 8, 8)},
        ["Reshape", "Transpose", "Reshape"],
    ),
    "space to depth": (
        [node("SpaceToDepth", ["c"], ["d"], blocksize=2), node("Conv", ["d", "back"], ["t"])],
        {"back": weights(CHANNELS, 4 * CHANNELS, 1, 1)},
        ["SpaceToDepth", "Conv"],
    ),
    **{
        f"depth to space {mode}": (
            [
                node("Conv", ["c", "more"], ["m"]),
                node("DepthToSpace", ["m"], ["d"], blocksize=2, mode=mode),
                node("Conv", ["d", "back"], ["t"]),
            ],
            {"more": weights(8, CHANNELS, 1, 1), "back": weights(CHANNELS, 2, 1, 1)},
            ["Conv", "DepthToSpace", "Conv"],
        )
        for mode in ("DCR", "CRD")
    },
    **{
        f"pixel shuffle {mode} in six dimensions": (
            [
                node("Conv", ["c", "more"], ["m"]),
                node("Reshape", ["m", "apart"], ["a"]),
                node("Transpose", ["a"], ["b"], perm=order),
                node("Reshape", ["b", "together"], ["d"]),
                node("Conv", ["d", "back"], ["t"]),
            ],
            {
                "more": weights(8, CHANNELS, 1, 1),
                "apart": ints(0, *sizes, 8, 8),
                "together": ints(0, 2, 16, 16),
                "back": weights(CHANNELS, 2, 1, 1),
            },
            ["Conv", "DepthToSpace", "Conv"],
        )
        for mode, sizes, order in (
            ("CRD", (2, 2, 2), [0, 1, 4, 2, 5, 3]),
            ("DCR", (2, 2, 2), [0, 3, 4, 1, 5, 2]),
        )
    },
    **{
        f"pad {mode}": (
            [node("Pad", ["c", "ends"], ["t"], mode=mode)],
            {"ends": ints(0, 0, 1, 2, 0, 0, 3, 1)},
            ["Gather", "Gather"],
        )
        for mode in ("reflect", "edge", "wrap")
    },
    "pad with a number": (
        [node("Pad", ["c", "ends", "fill"], ["t"])],
        {"ends": ints(0, 0, 1, 2, 0, 0, 3, 1), "fill": single(0.7)},
        ["Pad", "Add"],
    ),
    "pad and cut off": (
        [node("Pad", ["c", "ends"], ["d"]), node("Relu", ["d"], ["t"])],
        {"ends": ints(0, 0, -1, 2, 0, 0, 3, -1)},
        ["Slice", "Pad", "Relu"],
    ),
    "pad by axes": (
        [node("Pad", ["c", "ends", "", "axes"], ["d"]), node("Tanh", ["d"], ["t"])],
        {"ends": ints(1, 2), "axes": ints(3)},
        ["Pad", "Tanh"],
    ),
    "tile": (
        [node("Tile", ["c", "times"], ["t"])],
        {"times": ints(1, 1, 3, 2)},
        ["Gather", "Gather"],
    ),
    "expand": (
        [node("GlobalMaxPool", ["c"], ["g"]), node("Expand", ["g", "to"], ["t"])],
        {"to": ints(1, CHANNELS, 8, 8)},
        ["GlobalMaxPool", "Gather", "Gather"],
    ),
    "expand that a product does": (
        [
            node("GlobalMaxPool", ["c"], ["g"]),
            node("Expand", ["g", "to"], ["e"]),
            node("Mul", ["c", "e"], ["t"]),
        ],
        {"to": ints(1, CHANNELS, 8, 8)},
        ["GlobalMaxPool", "Mul"],
    ),
    "idle": ([node("Identity", ["c"], ["i"]), node("Dropout", ["i"], ["t"])], {}, []),
}


@pytest.mark.parametrize("name", CASES)
def test_what_moves_numbers_is_plain(name: str) -> None:
    nodes, constants, expected = CASES[name]
    held = hold(between(nodes, constants))
    held.require()
    assert held.computing == ["Conv", *expected, "Conv"]


@pytest.mark.parametrize("fill", [0.0, 0.5])
@pytest.mark.parametrize("behind", [False, True])
def test_constants_that_are_joined_to_activations_are_padding(fill: float, behind: bool) -> None:
    parts = ["c", "z"] if behind else ["z", "c"]
    held = hold(
        between(
            [node("Concat", parts, ["t"], axis=1)],
            {"z": np.full((1, 2, 8, 8), fill, single)},
            channels=CHANNELS + 2,
            batch=1,
        )
    )
    held.require()
    assert held.computing == ["Conv", "Pad", *(["Add"] if fill else []), "Conv"]


def _block(shape: tuple[int, ...], start: int, axis: int) -> Any:
    """The places of a block in (1, 6, 8, 8), as exporters list them."""
    ranges = [np.arange(size) + (start if i == axis else 0) for i, size in enumerate(shape)]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), -1)


@pytest.mark.parametrize(
    ("places", "at", "size", "expected"),
    [
        (_block((1, 2, 8, 8), 0, 1), 1, 2, ["Slice", "Slice", "Concat"]),
        (_block((1, 2, 8, 8), 3, 1), 1, 2, ["Slice", "Slice", "Slice", "Concat"]),
        (_block((1, 6, 3, 8), 5, 2), 2, 3, ["Slice", "Slice", "Concat"]),
        (_block((1, 6, 8, 8), 0, 1), 1, 6, []),
    ],
    ids=["first", "middle", "last rows", "all"],
)
def test_a_block_written_into_a_tensor_is_joined_to_the_rest(
    places: Any, at: int, size: int, expected: list[str]
) -> None:
    """As states are kept: the new part is written over the old one."""
    shape = [1, CHANNELS, 8, 8]
    shape[at] = size
    nodes = [
        node("Slice", ["c", "zero", "size", "axis"], ["part"]),
        node("Relu", ["part"], ["new"]),
        node("ScatterND", ["c", "places", "new"], ["t"]),
    ]
    constants = {"zero": ints(0), "size": ints(size), "axis": ints(at), "places": places}
    held = hold(between(nodes, constants, batch=1))
    held.require()
    computing = [kind for kind in held.computing if kind not in ("Conv", "Relu")]
    assert computing == expected


def test_constants_that_are_computed_are_constants() -> None:
    nodes = [node("ConstantOfShape", ["size"], ["z"]), node("Concat", ["z", "c"], ["t"], axis=1)]
    held = hold(between(nodes, {"size": ints(1, 2, 8, 8)}, channels=CHANNELS + 2, batch=1))
    held.require()
    assert held.computing == ["Conv", "Pad", "Conv"]


@pytest.mark.parametrize("computed", [False, True], ids=["by -1", "by Shape"])
def test_a_batch_that_is_merged_with_channels_comes_apart_again(computed: bool) -> None:
    back = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Unsqueeze", ["n", "front"], ["n1"]),
        node("Concat", ["n1", "rest"], ["to"], axis=0),
        node("Reshape", ["g", "to"], ["f"]),
    ]
    nodes = [
        node("Reshape", ["c", "alone"], ["a"]),
        node("Conv", ["a", "each"], ["b"]),
        node("Relu", ["b"], ["r"]),
        node("GlobalAveragePool", ["r"], ["g"]),
        *(back if computed else [node("Reshape", ["g", "apart"], ["f"])]),
        node("Gemm", ["f", "last"], ["y"]),
    ]
    constants = {
        "alone": ints(-1, 1, 8, 8), "each": weights(2, 1, 3, 3), "apart": ints(-1, 2 * CHANNELS),
        "zero": np.array(0), "front": ints(0), "rest": ints(-1),
        "last": weights(5, 2 * CHANNELS).T.copy(),
    }  # fmt: skip
    held = hold(between(nodes, constants, last=[]))
    held.require()


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        (
            [node("Concat", ["c", "c"], ["t"], axis=0, name="twice")],
            {},
            "Concat node 'twice' works along the batch",
        ),
        (
            [node("Transpose", ["c"], ["t"], perm=[1, 0, 2, 3], name="turn")],
            {},
            "Transpose node 'turn' makes dimension 1 of 't' depend on the batch",
        ),
        (
            [node("Gather", ["c", "places"], ["t"], axis=0, name="some")],
            {"places": ints(0)},
            "Gather node 'some' works along the batch",
        ),
    ],
)
def test_what_mixes_samples_takes_one_at_a_time(
    nodes: list[onnx.NodeProto], constants: dict[str, Any], message: str
) -> None:
    network = between(nodes, constants, last=[node("GlobalAveragePool", ["t"], ["y"])])
    told: list[str] = []
    made = quantize_onnx(network, [np.zeros((2, 3, 8, 8), single)], tell=told.append)
    assert told[0].startswith("takes one sample at a time, which changes no answer, since ")
    assert told[0].endswith(message)
    assert list(made.graph.inputs[0].shape or ()) == [1, 3, 8, 8]
