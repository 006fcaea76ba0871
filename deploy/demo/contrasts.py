"""What a demo sets against its exact files: a conversion after training, and a planted fault."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.calibration.config import CalibrationConfig
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.gate.reading import read_config
from edgeq.deploy.gate.revision import place_of_copy
from edgeq.deploy.gate.run import gate, update
from edgeq.deploy.gate.starting import initial
from edgeq.deploy.pipeline.calibrate import Job, calibrate

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.deploy.gate.result import GateResult
    from edgeq.results import Accuracy

TARGET = "ort-cpu-ref"
CONFIG = "edgeq-gate.toml"


@dataclass(frozen=True, slots=True)
class Planted:
    """A gate that judged a file in which one integer was changed.

    Attributes:
        tensor: the weight in which it was.
        result: what the gate said of it.
    """

    tensor: str
    result: GateResult


def converted(
    checkpoint: Path, widths: tuple[int, int], source: DataSource, output: Path
) -> Accuracy | None:
    """The accuracy of a float network that is converted after its training.

    Args:
        checkpoint: of an FP32 training.
        widths: of weights and activations.
        source: the data.
        output: where the converted file goes.
    """
    config = CalibrationConfig(weight_bits=widths[0], act_bits=widths[1], methods=())
    calibrate(Job(checkpoint, source, config, samples=256), output, overwrite=True)
    found = compare([Pair(output, TARGET)], source, tensors=False).comparison
    return found.stages[0].accuracy


def planted_fault(file: Path, folder: Path, source: DataSource) -> Planted:
    """Accept a file by a gate, change one integer in it, and judge it again.

    Args:
        file: a QDQ ONNX file, which stays as it is.
        folder: where a copy, the rules and the baseline go; an earlier one is replaced.
        source: the data.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy = folder / "network.onnx"
    for each in (copy, place_of_copy(copy)):
        shutil.copyfile(file, each)
    (folder / CONFIG).write_text(initial([copy], source.name, [TARGET], folder), encoding="utf-8")
    config = read_config(folder / CONFIG)
    update(config, source=source, accept_guessing=True)
    tensor = _change_one_integer(copy)
    return Planted(tensor, gate(config, source=source))


def _change_one_integer(path: Path) -> str:
    """Move one integer of a weight in the middle of a network by one step."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    weights = [each for each in model.graph.initializer if len(each.dims) == 4]
    chosen = weights[len(weights) // 2]
    values = np.array(numpy_helper.to_array(chosen))
    place = np.unravel_index(values.size // 2, values.shape)
    values[place] += 1 if values[place] <= 0 else -1
    chosen.CopyFrom(numpy_helper.from_array(values, chosen.name))
    path.write_bytes(model.SerializeToString())
    return str(chosen.name)
