"""Does a target compute at all, and the right integers? A tiny network of known answers tells.

It is exported to each format that the target opens. Its answers are the same integers on every
runtime, however it rounds: all scales are powers of two, and each convolution's sums land on the
next grid without a fraction. What lies beyond the storage dtype has to saturate. No Relu stands
behind a convolution: where it bounds more than the quantiser after it, ONNX Runtime leaves the
layer in float on x86.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.exporter import EXPORTERS, ExportOptions
from edgeq.files import temporary_folder
from edgeq.timing.measuring import measure

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from edgeq.formats.artefact import Format
    from edgeq.target import Target

SECONDS = 5.0  # for everything, as far as it is ours to say
TIMED_SECONDS = 1.0
_SAMPLES = 4
_STEP = 2.0**-4  # of every activation; weights have the step 1
_ZERO = 128  # uint8; 0 in int8, which some runtimes insist on
_SHAPE = (3, 8, 8)
_INNER, _CLASSES = 8, 10


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How a target did in one format.

    Attributes:
        format: of the artefact.
        passed: whether it opened, ran, and answered as it should.
        what: how many integers were right, or what went wrong.
        p50_ms: the median of what a run took; None where it did not get there.
        seconds: what the test took.
        hint: how to fix what went wrong, where the target says so.
    """

    format: str
    passed: bool
    what: str
    p50_ms: float | None
    seconds: float
    hint: str = ""


def self_test(target: Target) -> tuple[SelfTest, ...]:
    """Try a target in each exported format that it opens.

    Never raises for what the target does wrong.
    """
    formats = sorted(target.capabilities.formats)
    return tuple(_tested(target, kind, SECONDS / len(formats)) for kind in formats)


def _tested(target: Target, kind: Format, seconds: float) -> SelfTest:
    began = time.monotonic()
    p50_ms: float | None = None
    hint = ""
    try:
        with temporary_folder() as folder:
            passed, what, p50_ms = _run(target, _artefact(target, kind, folder), began + seconds)
    except EdgeqError as error:
        passed, what, hint = False, error.what, error.hint
    return SelfTest(kind, passed, what, p50_ms, time.monotonic() - began, hint)


def _run(target: Target, artefact: Path, deadline: float) -> tuple[bool, str, float | None]:
    centered = np.random.default_rng(0).integers(-128, 128, (_SAMPLES, *_SHAPE))
    images = (centered * _STEP).astype(np.float32)
    with target.open(artefact) as session:
        answers = session.run(images)
        wrong, total = (
            _wrong(answers, centered, known=artefact.suffix != ".safetensors"),
            answers.size,
        )
        if wrong:
            return False, f"{wrong} of {total} answers are wrong", None
        session.prepare(images[:1])
        left = deadline - time.monotonic()
        taken = (
            measure({"": session}, seconds=min(TIMED_SECONDS, left), warmup_seconds=0, min_runs=1)
            if left > 0
            else {}
        )
    what = (
        f"{total} integers are right"
        if artefact.suffix != ".safetensors"
        else f"{total} answers, all finite"
    )
    return True, what, taken[""].p50_ms if taken else None


def _wrong(answers: NDArray[np.float32], centered: NDArray[np.int64], *, known: bool) -> int:
    if not known:
        return int((~np.isfinite(answers)).sum())
    expected = (expected_centered(centered) * _STEP).astype(np.float32)
    return (
        answers.size
        if answers.size != expected.size
        else int((answers.reshape(expected.shape) != expected).sum())
    )


def _artefact(target: Target, kind: Format, folder: Path) -> Path:
    if kind == "checkpoint":
        return _checkpoint(folder)
    import onnx_ir as ir

    exporter = EXPORTERS.load(kind)
    exported = exporter.export(
        ir.from_proto(tiny_network()), ExportOptions(dialect=target.capabilities.dialect)
    )
    path = folder / f"tiny{exporter.suffix}"
    path.write_bytes(exported.content)
    return path


def _checkpoint(folder: Path) -> Path:
    """An untrained network.

    A checkpoint is Python's own, so there is no kernel whose integers could be wrong.
    """
    import torch

    from edgeq.models import zoo
    from edgeq.training.checkpoint import Checkpoint, model_state, save
    from edgeq.training.recipes.recipe import Recipe

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = zoo.build("resnet8", classes=_CLASSES, in_channels=_SHAPE[0])
    state = {f"model/{name}": tensor for name, tensor in model_state(model).items()}
    path = folder / "tiny.safetensors"
    save(
        path,
        Checkpoint(Recipe("resnet8", "digits"), _SHAPE, tuple(map(str, range(_CLASSES))), state),
    )
    return path


def _weights() -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.int8], NDArray[np.int32]]:
    """Sparse, so that most sums fit the storage dtype and some do not."""
    random = np.random.default_rng(1)
    first = random.integers(-1, 2, (_INNER, _SHAPE[0], 3, 3)) * (
        random.random((_INNER, _SHAPE[0], 3, 3)) < 0.2
    )
    second = random.integers(-1, 2, (_CLASSES, _INNER, 8, 8)) * (
        random.random((_CLASSES, _INNER, 8, 8)) < 0.02
    )
    biases = (random.integers(-20, 21, count) for count in (_INNER, _CLASSES))
    return (
        first.astype(np.int8),
        next(biases).astype(np.int32),
        second.astype(np.int8),
        next(biases).astype(np.int32),
    )


def expected_centered(centered: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the network answers, by plain integer sums.

    Args:
        centered: the inputs without their zero point, (samples, 3, 8, 8).

    Returns:
        The outputs without theirs, (samples, 10).
    """
    first, first_bias, second, second_bias = (array.astype(np.int64) for array in _weights())
    padded = np.pad(centered, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    inner = np.einsum("nchwij,ocij->nohw", windows, first) + first_bias[:, None, None]
    inner = np.clip(inner, -128, 127)
    answers: NDArray[np.int64] = np.clip(
        np.einsum("nohw,kohw->nk", inner, second) + second_bias, -128, 127
    )
    return answers


def tiny_network() -> onnx.ModelProto:
    """The network in edgeq's canonical QDQ form.

    Two convolutions, the second as large as the image, 3 x 8 x 8 → 10.
    """
    from onnx import TensorProto, helper, numpy_helper

    constants: list[onnx.TensorProto] = []

    def constant(name: str, values: NDArray[Any] | np.float32) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    nodes: list[onnx.NodeProto] = []

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def grid(name: str, step: float, zero: NDArray[np.generic]) -> list[str]:
        return [constant(f"{name}_scale", np.float32(step)), constant(f"{name}_zero_point", zero)]

    def quantized(name: str) -> str:
        pair = grid(name, _STEP, np.array(_ZERO, np.uint8))
        return node(
            "DequantizeLinear",
            [node("QuantizeLinear", [name, *pair], f"{name}_quantized"), *pair],
            f"{name}_dequantized",
        )

    def stored(name: str, values: NDArray[np.generic], step: float) -> str:
        return node(
            "DequantizeLinear",
            [constant(f"{name}_quantized", values), *grid(name, step, np.zeros((), values.dtype))],
            f"{name}_dequantized",
        )

    first, first_bias, second, second_bias = _weights()
    layers = [stored("first_weight", first, 1.0), stored("first_bias", first_bias, _STEP)]
    node("Conv", [quantized("input"), *layers], "first", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    layers = [stored("second_weight", second, 1.0), stored("second_bias", second_bias, _STEP)]
    node("Conv", [quantized("first"), *layers], "second", kernel_shape=[8, 8])
    node("Flatten", [quantized("second")], "output")
    ends = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, *_SHAPE])]
    graph = helper.make_graph(
        nodes,
        "tiny",
        ends,
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, _CLASSES])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
