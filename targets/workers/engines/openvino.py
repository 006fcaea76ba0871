"""OpenVINO's CPU plug-in, and what its compiler made of each operator.

The plug-in computes float models in bfloat16 where the processor can, without being asked. Here it
gets a hint that forbids it, so that a float comparison compares floats.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.targets.workers.wire import Damaged, Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DEVICE = "CPU"
_QUIET = ("Input", "Output", "Const")  # no kernels
_MULTIPLYING = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
_BYTES = ("i8", "u8")
_SIZES = {"f32": 4, "bf16": 2, "f16": 2, "i8": 1, "u8": 1, "i32": 4}
_PREAMBLE = ("Exception from", "Check '")


def versions() -> dict[str, str]:
    """The package's version."""
    return {"openvino": str(_runtime().__version__).split("-", 1)[0]}


class Engine:
    """One model.

    Args:
        model: an ONNX file.
        options: ``threads``; ``precision`` of what stays in float, ``f32`` where it is not given.
    """

    def __init__(self, model: bytes, options: dict[str, Any]) -> None:
        hint = str(options.get("precision", "f32"))
        settings = {
            "INFERENCE_NUM_THREADS": int(options["threads"]),
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": 1,
        }
        compiled = _compile(_read(model), settings)
        self._request = compiled.create_infer_request()
        self.inputs = [_described(port) for port in compiled.inputs]
        self.outputs = [_described(port) for port in compiled.outputs]
        self.layers = _layers(compiled.get_runtime_model())
        self.facts = {"plug-in": _DEVICE, "float precision": hint, **_facts(self.layers)}

    def set_input(self, sample: NDArray[Any], index: int = 0) -> None:
        """Keep an input, with its batch of one."""
        self._request.set_input_tensor(index, _runtime().Tensor(np.ascontiguousarray(sample)))

    def invoke(self) -> None:
        """Run once."""
        self._request.infer()

    def get_output(self, index: int = 0) -> NDArray[Any]:
        """An output of the last run."""
        return np.array(self._request.get_output_tensor(index).data)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """OpenVINO shows none without changing what it fuses."""
        raise Refused("this engine shows no tensors inside the graph")


def _runtime() -> Any:
    """The package, without the optional module that would send telemetry."""
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)  # the documented way to make an import fail
    import openvino

    return openvino


def _read(model: bytes) -> Any:
    """The model with a batch of one."""
    try:
        found = _runtime().Core().read_model(model)
        found.reshape({port: [1, *list(port.partial_shape)[1:]] for port in found.inputs})
    except RuntimeError as error:
        raise Damaged(_why(error)) from error
    return found


def _compile(model: Any, settings: dict[str, object]) -> Any:
    try:
        return _runtime().Core().compile_model(model, _DEVICE, settings)
    except RuntimeError as error:
        raise Refused(_why(error)) from error


def _why(error: RuntimeError) -> str:
    """The message of an exception without the places in OpenVINO's source that it names."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(_PREAMBLE)) or lines[0]


def _described(port: Any) -> dict[str, Any]:
    return {
        "name": port.get_any_name(),
        "shape": list(port.shape),
        "dtype": np.dtype(port.element_type.to_dtype()).name,
    }


def _layers(running: Any) -> list[dict[str, Any]]:
    """The kernels in the order of execution."""
    found = []
    for node in running.get_ordered_ops():
        told = {key: str(value.astype(str)) for key, value in node.get_rt_info().items()}
        if told["layerType"] in _QUIET:
            continue
        elements = int(np.prod([int(size) for size in node.get_output_shape(0)]))
        precision = told["outputPrecisions"].split(",", 1)[0]
        found.append(
            {
                "kind": told["layerType"],
                "kernel": told["primitiveType"],
                "precision": told["runtimePrecision"],
                "made_from": told["originalLayersNames"],
                "output_bytes": elements * _SIZES.get(precision, 4),
            }
        )
    return found


def _facts(layers: list[dict[str, Any]]) -> dict[str, str]:
    """Which of the kernels that multiply do so in integers; those that do not are named."""
    heavy = [layer for layer in layers if layer["kind"] in _MULTIPLYING]
    floating = [layer for layer in heavy if layer["precision"] not in _BYTES]
    facts = {"multiplying in int8": f"{len(heavy) - len(floating)} of {len(heavy)} layers"}
    kernels = sorted({layer["kernel"] for layer in heavy})
    if floating:
        facts["multiplying in float"] = "; ".join(
            f"{layer['made_from'][:80]} ({layer['kernel']})" for layer in floating[:8]
        )
    return {**facts, "kernels": ", ".join(kernels)} if kernels else facts
