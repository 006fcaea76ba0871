"""No alarm on files that edgeq writes, nor on those of onnxruntime's quantiser.

An alarm is an error or a warning: what is certain. Notes may be about the random numbers that these
networks are made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from tests.support.checks.exactness import roughen
from tests.support.models.families import FAMILIES
from tests.support.runtimes.calibration import Feeds

from edgeq.calibration.quantize import fold_onnx
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter as onnx
from edgeq.exporters.tflite import exporter as tflite
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import parse, serialize
from edgeq.linting import findings_in, onnx_view, tflite_view
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.tracing import as_batch, trace
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.linting import Finding
    from edgeq.linting.model import LintModel

SHAPE = (3, 16, 16)
QUICK = ("resnext", "mobilenetv3", "efficientnet-lite", "ghostnet", "unet", "layer scale")
REST = tuple(sorted(set(FAMILIES) - set(QUICK)))


def alarms(model: LintModel) -> list[Finding]:
    assert model.layers
    return [finding for finding in findings_in(model) if finding.severity != "note"]


def check_own(name: str, bits: int) -> None:
    torch.manual_seed(0)
    network = roughen(quantize(FAMILIES[name](), Scheme(bits, bits), torch.zeros(1, *SHAPE)), SHAPE)
    model = lower(network, SHAPE)
    written = onnx.export(model, ExportOptions()).content
    assert alarms(onnx_view.view(parse(written, "it"), "net.onnx")) == []
    written = tflite.export(model, ExportOptions(allow_float=True)).content
    assert alarms(tflite_view.view(written, "net.tflite")) == []


def check_onnxruntimes(name: str, folder: Path) -> None:
    torch.manual_seed(0)
    traced = trace(FAMILIES[name]().eval(), [as_batch(torch.zeros(1, *SHAPE))])
    model = fold_onnx(lower(traced, [SHAPE]))
    (folder / "float.onnx").write_bytes(serialize(model))
    for per_channel in (False, True):
        for form in (QuantFormat.QDQ, QuantFormat.QOperator):
            rng = np.random.default_rng(0)
            images = (rng.uniform(-2, 2.5, (1, *SHAPE)).astype(np.float32) for _ in range(4))
            quantize_static(
                folder / "float.onnx",
                folder / "quantized.onnx",
                Feeds({model.graph.inputs[0].name or "": image} for image in images),
                quant_format=form,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=per_channel,
            )
            assert alarms(onnx_view.read(folder / "quantized.onnx")) == []


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", QUICK)
def test_no_alarm_on_what_edgeq_writes(name: str, bits: int) -> None:
    check_own(name, bits)


@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_no_alarm_on_what_edgeq_writes_of_any_family(name: str) -> None:
    for bits in (4, 8):
        check_own(name, bits)


@pytest.mark.parametrize("name", QUICK[:3])
def test_no_alarm_on_what_onnxruntime_quantises(name: str, tmp_path: Path) -> None:
    check_onnxruntimes(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_no_alarm_on_what_onnxruntime_quantises_of_any_family(name: str, tmp_path: Path) -> None:
    check_onnxruntimes(name, tmp_path)


@pytest.mark.parametrize("name", ["resnet8-int8.tflite", "resnet8-qdq.onnx"])
def test_no_alarm_on_files_that_are_published(name: str, data_dir: Path) -> None:
    path = data_dir / "models" / name
    read = tflite_view.read if name.endswith("tflite") else onnx_view.read
    assert alarms(read(path)) == []
