"""What the workers of post-training tools share: the images, the costs, the answers.

Runs in their environments, knows nothing of edgeq.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Feed = dict[str, np.ndarray]
    Run = Callable[[Feed], np.ndarray]

BATCH, EIGHT = 32, 8
PER_CHANNEL_OPSET = 13
"""The first opset whose DequantizeLinear takes a scale for each channel."""


class Work:
    """A float model in a folder, with images.

    Attributes:
        method: which of the tool's methods is asked for.
        weight_bits: the width of weights.
        act_bits: the width of activations.
        source: the float ONNX file, of an opset in which weights may have scales by channel.
        made: where the quantised one belongs.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        import onnx
        import onnx.version_converter

        self.folder = Path(arguments["folder"])
        self.method: str = arguments["method"]
        self.weight_bits, self.act_bits = arguments["weight_bits"], arguments["act_bits"]
        self.source, self.made = self.folder / "float.onnx", self.folder / "made.onnx"
        images = np.load(self.folder / "images.npz")
        self._calibration, self._test = images["calibration"], images["test"]
        model = onnx.load(str(self.source))
        if any(
            not entry.domain and entry.version < PER_CHANNEL_OPSET for entry in model.opset_import
        ):
            # tools write scales by channel into older files, too, which runtimes then refuse
            model = onnx.version_converter.convert_version(model, PER_CHANNEL_OPSET)
            self.source = self.folder / "float-raised.onnx"
            onnx.save(model, str(self.source))
        entry = model.graph.input[0]
        self.input = entry.name
        self._size = entry.type.tensor_type.shape.dim[0].dim_value or BATCH

    def only(self, *weight_bits: int) -> None:
        """End where other widths of weights, or of activations than 8, are asked for."""
        if self.weight_bits not in weight_bits or self.act_bits != EIGHT:
            widths = " or ".join(map(str, weight_bits))
            sys.exit(f"its convolutions have weights of {widths} bits and activations of 8")

    def ends(self) -> list[str]:
        """The weights of the first and the last layer, which keep 8 bits with every tool."""
        import onnx

        graph = onnx.load(str(self.source)).graph
        constants = {each.name for each in graph.initializer}
        weights = [
            node.input[1]
            for node in graph.node
            if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in constants
        ]
        return [weights[0], weights[-1]]

    def batches(self) -> Iterator[Feed]:
        """The calibration images as the model takes them."""
        yield from self._feeds(self._calibration)

    def _feeds(self, images: np.ndarray) -> Iterator[Feed]:
        for start in range(0, len(images) - self._size + 1, self._size):
            yield {self.input: np.ascontiguousarray(images[start : start + self._size])}

    def begin(self) -> None:
        """Count seconds from here, behind the imports."""
        self._began = time.process_time(), time.perf_counter()

    def finish(self, run: Run | None = None) -> None:
        """Answer the test images, by default with the file that was made; print the costs."""
        cost = {
            "seconds": time.process_time() - self._began[0],
            "wall": time.perf_counter() - self._began[1],
            "peak_mb": peak_mb(),
        }
        run = run or _session(self.made)
        rest = -len(self._test) % self._size
        padded = np.concatenate([self._test, self._test[:rest]])
        parts = [run(feed).reshape(self._size, -1) for feed in self._feeds(padded)]
        np.save(self.folder / "logits.npy", np.concatenate(parts)[: len(self._test)])
        print(json.dumps(cost))


def _session(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)[0]


def start() -> Work:
    """The work that was asked for."""
    return Work(json.loads(sys.argv[1]))


def peak_mb() -> float:
    """The largest resident set of this process; ``ru_maxrss`` has that of what started it too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000
