"""The AVX2 profile against the real thing: ONNX Runtime's own AVX2 kernels, on an emulated processor that has no VNNI.

QEMU's user mode shows this interpreter a Haswell, so the very wheel that runs on this machine picks the kernels that it
would pick there, and they answer what they would answer there. Nothing in ONNX Runtime itself can be set to that end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import load, normalize
from edgeq.exporters.lower import lower
from edgeq.exporters.onnx import serialize
from edgeq.models import zoo
from edgeq.target import TARGETS
from edgeq.targets.emulator.accumulate import accumulate
from edgeq.targets.emulator.numerics import Factors, Landing, Tally
from edgeq.targets.emulator.profiles import profile_of
from edgeq.targets.emulator.requantize import requantize

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.targets.emulator.session import EmulatorSession

QEMU = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(QEMU is None, reason="needs qemu-x86_64, of the package qemu-user")]
RUNNER = """
import sys, numpy as np, onnxruntime as ort
given, options = np.load(sys.argv[1]), ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
names = [key[6:] for key in given.files if key.startswith("model/")]
sessions = {name: ort.InferenceSession(given["model/" + name].tobytes(), options, providers=["CPUExecutionProvider"]) for name in names}
np.savez(sys.argv[2], **{name: session.run(None, {"x": given["x/" + name]})[0] for name, session in sessions.items()})
"""
WHOLE = """
import sys, numpy as np, onnxruntime as ort
options, images = ort.SessionOptions(), np.load(sys.argv[3])["images"]
options.intra_op_num_threads, options.log_severity_level = 1, 3
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
np.save(sys.argv[4], np.concatenate([session.run(None, {sys.argv[2]: image[None]})[0] for image in images]))
"""


@dataclass(frozen=True)
class Layer:
    """A convolution, or a product of matrices where ``kernel`` is 0, of random integers."""

    inputs: int
    outputs: int
    kernel: int
    zero_point: int
    groups: int = 1
    carrier: str = "uint8"

    @property
    def name(self) -> str:
        return "-".join(str(part) for part in (self.inputs, self.outputs, self.kernel, self.zero_point, self.groups, self.carrier))

    @property
    def pairs(self) -> bool:
        """Whether MLAS adds pairs: not for int8 activations, nor where each channel has a filter of its own."""
        return self.carrier == "uint8" and not (self.groups > 1 and self.inputs == self.outputs == self.groups)

    def arrays(self) -> dict[str, NDArray[Any]]:
        random = np.random.default_rng(self.inputs + self.outputs)
        low = 0 if self.carrier == "uint8" else -128
        taps = (self.inputs // self.groups, self.kernel, self.kernel) if self.kernel else (self.inputs,)
        size = (1, self.inputs, 8, 8) if self.kernel else (5, self.inputs)
        return {
            "x": (random.integers(0, 256, size) + low).astype(self.carrier),
            "x_scale": np.array(0.02, np.float32),
            "x_zero": np.array(self.zero_point, self.carrier),
            "w": np.clip(np.rint(random.normal(0, 60, (self.outputs, *taps))), -128, 127).astype(np.int8),
            "w_scale": random.uniform(0.005, 0.01, self.outputs if self.kernel else ()).astype(np.float32),
            "w_zero": np.zeros(self.outputs if self.kernel else (), np.int8),
            "b": random.integers(-3000, 3000, self.outputs).astype(np.int32),
            "y_scale": np.array(0.31 * np.sqrt(np.prod(taps)), np.float32),
            "y_zero": np.array(100 + low, self.carrier),
        }

    def model(self) -> bytes:
        arrays = self.arrays()
        order = [
            "x",
            "x_scale",
            "x_zero",
            "w",
            "w_scale",
            "w_zero",
            *(["y_scale", "y_zero", "b"] if self.kernel else ["b", "y_scale", "y_zero"]),
        ]
        if self.kernel:
            pads = [self.kernel // 2] * 4
            node = helper.make_node("QLinearConv", order, ["y"], pads=pads, group=self.groups, kernel_shape=[self.kernel, self.kernel])
        else:
            node = helper.make_node("QGemm", order, ["y"], domain="com.microsoft", transB=1)
        kind = TensorProto.UINT8 if self.carrier == "uint8" else TensorProto.INT8
        entrance = helper.make_tensor_value_info("x", kind, arrays["x"].shape)
        constants = [numpy_helper.from_array(np.asarray(arrays[name]), name) for name in order[1:]]
        graph = helper.make_graph([node], "layer", [entrance], [helper.make_tensor_value_info("y", kind, None)], constants)
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return bytes(model.SerializeToString())

    def predicted(self) -> tuple[NDArray[np.int64], Tally]:
        arrays = self.arrays()
        levels = torch.from_numpy(arrays["x"].astype(np.float32)) - self.zero_point
        weights, bias = torch.from_numpy(arrays["w"].astype(np.float32)), torch.from_numpy(arrays["b"])
        sums, tally = self._sums(levels, weights, bias)
        real = ((arrays["x_scale"] * arrays["w_scale"]) / arrays["y_scale"]).astype(np.float64)
        zero = int(arrays["y_zero"])
        low, high = (0, 255) if self.carrier == "uint8" else (-128, 127)
        found = requantize(sums, Factors.of(real), Landing(zero, low, high), "half-even-float32", axis=1).numpy().astype(np.int64)
        return (found.T.reshape(1, self.outputs, 8, 8) if self.kernel else found), tally

    def _sums(self, levels: Tensor, weights: Tensor, bias: Tensor) -> tuple[Tensor, Tally]:
        profile = profile_of("avx2" if self.pairs else "tflm")
        if not self.kernel:
            return accumulate(levels, weights, bias, profile, self.zero_point)
        window, depth, filters = self.kernel**2, self.inputs // self.groups, self.outputs // self.groups
        taps = F.unfold(levels, self.kernel, padding=self.kernel // 2).reshape(self.inputs, window, -1).permute(2, 1, 0)
        found = [
            accumulate(
                taps[..., g * depth : (g + 1) * depth].flatten(1),
                weights[g * filters : (g + 1) * filters].flatten(2).transpose(1, 2).flatten(1),
                bias[g * filters : (g + 1) * filters],
                profile,
                self.zero_point,
            )
            for g in range(self.groups)
        ]
        return torch.cat([sums for sums, _ in found], 1), sum((tally for _, tally in found), Tally())


LAYERS = [
    *(Layer(16, 16, 3, zero) for zero in (0, 117, 255)),
    *(Layer(inputs, 8, 3, 120) for inputs in (3, 5, 512)),  # other kernels where the channels are no multiple of four
    *(Layer(inputs, 24, 1, 3) for inputs in (7, 32)),
    Layer(16, 32, 3, 9, groups=4),
    Layer(8, 16, 3, 11, groups=8),
    Layer(16, 16, 3, 11, groups=16),
    Layer(16, 16, 3, -4, carrier="int8"),
    *(Layer(inputs, 10, 0, 13) for inputs in (63, 64, 512)),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, NDArray[np.int64]]]:
    """What ONNX Runtime answers on this processor, and on a Haswell, by layer."""
    folder = tmp_path_factory.mktemp("avx2")
    given = {f"model/{layer.name}": np.frombuffer(layer.model(), np.uint8) for layer in LAYERS}
    given |= {f"x/{layer.name}": layer.arrays()["x"] for layer in LAYERS}
    np.savez(folder / "given.npz", allow_pickle=False, **given)
    found = {}
    for place, launcher in (("here", []), ("haswell", [str(QEMU), "-cpu", "Haswell"])):
        result = folder / f"{place}.npz"
        subprocess.run([*launcher, sys.executable, "-c", RUNNER, str(folder / "given.npz"), str(result)], check=True, capture_output=True)
        with np.load(result) as arrays:
            found[place] = {name: arrays[name].astype(np.int64) for name in arrays.files}
    return found


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_every_integer_of_the_kernels_for_avx2_is_predicted(layer: Layer, answers: dict[str, dict[str, NDArray[np.int64]]]) -> None:
    predicted, tally = layer.predicted()
    assert np.array_equal(predicted, answers["haswell"][layer.name])
    assert (tally.pairs > 0) == layer.pairs
    if layer.pairs and layer.inputs > 16 and "vnni" in Path("/proc/cpuinfo").read_text():
        assert not np.array_equal(answers["here"][layer.name], answers["haswell"][layer.name])


@pytest.mark.parametrize("name", ["resnet8", "stable-resnet8"])
def test_every_output_of_a_network_is_predicted(name: str, tmp_path: Path) -> None:
    """A whole network of 8-bit weights, its residual sums, concatenation and pooling included."""
    source = load("digits")
    images = normalize(source.test.images[:40], source)
    torch.manual_seed(1)
    module = lower(zoo.build(name, classes=10, in_channels=1), (1, 8, 8))
    artefact = tmp_path / f"{name}.onnx"
    artefact.write_bytes(serialize(quantize_onnx(module, [normalize(source.train.images[:64], source)], weight_bits=8)))
    entrance = onnx.load(artefact).graph.input[0].name
    np.savez(tmp_path / "given.npz", allow_pickle=False, images=images)
    run = [str(QEMU), "-cpu", "Haswell", sys.executable, "-c", WHOLE, str(artefact), entrance, str(tmp_path / "given.npz")]
    subprocess.run([*run, str(tmp_path / "found.npy")], check=True, capture_output=True)
    with cast("EmulatorSession", TARGETS.load("emulator:avx2").open(artefact)) as session:
        assert np.array_equal(session.run(images), np.load(tmp_path / "found.npy"))
        assert sum(layer.tally.pairs for layer in session.layers()) > 0
