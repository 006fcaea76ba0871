"""What becomes of one family of networks: trained, calibrated, exported, and run everywhere."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from tests.support.checks.exactness import check_rows_one_and_two
from tests.support.runtimes.emulation import differing
from tests.support.runtimes.function_ties import function_ties

from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.evaluation.verify import verify_arrays
from edgeq.errors import EdgeqError, first_line
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.exporters.torch.lower import lower
from edgeq.formats.dialect import TFLITE, TFLM
from edgeq.formats.onnx_io import serialize
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from tests.support.models.public.catalogue import Family
    from torch import fx, nn

    from edgeq.exporter import Exported
    from edgeq.formats.dialect import Dialect

COLUMNS = ("QAT", "PTQ", "export", "ort-cpu-ref", "tflite-ref", "tflm", "emulator")
_SCHEME = Scheme()
_SAMPLES = 2
_BATCH = 8
_HALF = 0.5  # LSB
# join and move outputs on different grids, each of which is dequantised already
_AT_THE_END = ("Concat", "Reshape", "Transpose")


@dataclass(frozen=True, slots=True)
class Cell:
    """One answer.

    Attributes:
        holds: whether it does what the column says.
        text: what was found, or why not.
    """

    holds: bool
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a family.

    Attributes:
        family: which.
        cells: one for each of :data:`COLUMNS`.
    """

    family: Family
    cells: dict[str, Cell]

    @property
    def whole(self) -> bool:
        """Whether every column holds."""
        return all(cell.holds for cell in self.cells.values())


def measure(
    family: Family,
    folder: Path,
    columns: tuple[str, ...] = COLUMNS,
    scheme: Scheme = _SCHEME,
) -> Row:
    """Train a few steps, calibrate, export, and compare integers on every local target.

    Args:
        family: the network, with weights at random.
        folder: for files.
        columns: those that are wanted.
        scheme: of the training.
    """
    torch.manual_seed(0)
    network = _settled(family)
    found: dict[str, Cell] = {}
    trained = _told(found, "QAT", lambda: _trained(network, family, scheme), lambda _: "yes")
    if "PTQ" in columns:
        _told(found, "PTQ", lambda: _calibrated(network, family), lambda _: "yes")
    lowered = exported = None
    if trained is not None:
        lowered = _told(found, "export", lambda: lower(trained, family.shape), lambda _: "")
    if lowered is not None:
        exported = _told(found, "export", lambda: _exported(lowered), _parity)
    samples = family.samples(_SAMPLES, seed=9).numpy()
    if trained is not None and lowered is not None:
        _told(
            found,
            "ort-cpu-ref",
            lambda: check_rows_one_and_two(trained, samples, folder, lowered),
            lambda verdict: f"{verdict.flips} of {verdict.compared:,}",
        )
    if lowered is not None and exported is not None:
        _on_targets(found, lowered, exported, samples, folder)
    missing = {name: Cell(holds=False, text="") for name in columns if name not in found}
    return Row(family, {name: (found | missing)[name] for name in columns})


def _told(
    found: dict[str, Cell], column: str, attempt: Callable[[], Any], tell: Callable[[Any], str]
) -> Any:
    """The result, or None where it fails; the cell says which."""
    try:
        with warnings.catch_warnings(action="ignore"):
            result = attempt()
    except (EdgeqError, AssertionError) as error:
        found[column] = Cell(holds=False, text=first_line(error))
        return None
    found[column] = Cell(holds=True, text=tell(result))
    return result


def _settled(family: Family) -> nn.Module:
    """The network, its normalisations as a few batches leave them."""
    network = family.build().train()
    with torch.no_grad():
        for seed in range(2):
            network(family.samples(_BATCH, seed))
    return network.eval()


def _trained(network: nn.Module, family: Family, scheme: Scheme) -> fx.GraphModule:
    """A quantised copy after a few steps of training, which make its answers small."""
    model = quantize(network, scheme, family.samples(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    model.train()
    for seed in range(3):
        optimizer.zero_grad()
        answers = model(family.samples(_BATCH, seed))
        tensors = answers.values() if isinstance(answers, dict) else [answers]
        torch.stack([each.square().mean() for each in tensors]).sum().backward()
        optimizer.step()
    return model.eval()


def _calibrated(network: nn.Module, family: Family) -> Exported:
    """The file that ``edgeq calibrate`` makes of what torch exports for one sample."""
    data, sample = io.BytesIO(), family.samples(1)
    stream: Any = data  # torch's types know of paths only
    torch.onnx.export(
        network, (sample,), stream, dynamo=False, opset_version=17, input_names=["input"]
    )
    model = ir.from_proto(onnx.load_from_string(data.getvalue()))
    samples = family.samples(_BATCH).numpy()
    return _exported(quantize_onnx(model, list(samples[:, None])))


def _exported(model: ir.Model, dialect: Dialect = TFLITE) -> Exported:
    exported = tflite.export(model, ExportOptions(allow_float=True, dialect=dialect))
    _require(not exported.parity.different, f"{len(exported.parity.different)} numbers differ")
    if exported.in_float is not None:
        kinds = {operator.partition(" ")[0] for operator in exported.in_float.operators}
        computed = sorted(kinds - {*_AT_THE_END})
        _require(not computed, f"in float: {', '.join(computed)}")
    return exported


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise EdgeqError(otherwise, hint="see what the family holds")


def _parity(exported: Exported) -> str:
    return f"{exported.parity.compared:,}"


def _on_targets(
    found: dict[str, Cell],
    lowered: ir.Model,
    exported: Exported,
    samples: NDArray[Any],
    folder: Path,
) -> None:
    file = folder / "exported.tflite"
    file.write_bytes(exported.content)
    onnx_file = folder / "exported.onnx"
    onnx_file.write_bytes(serialize(lowered))

    def on_tflite() -> tuple[int, int]:
        checked = verify_arrays(lowered, exported, [samples[:1]]).tensors
        wrong = [each for each in checked if each.worst > 1]
        _require(not wrong, "".join(f"{each.operator}: {each.worst} LSB" for each in wrong[:1]))
        return sum(each.different for each in checked), sum(each.compared for each in checked)

    def on_tflm() -> float:
        micro = folder / "exported.tflm.tflite"
        micro.write_bytes(_exported(lowered, TFLM).content)
        output = read_qdq(lowered, float_fallback=True).outputs[0].tensor
        step = 1e-6 if output.is_float else float(output.params.scale)
        answers = []
        for name in ("tflm", "emulator:tflm"):
            with TARGETS.load(name).open(micro) as session:
                answers.append(session.run(samples))
        off = np.abs(answers[0] - answers[1]).max() / step
        _require(off < _HALF, f"answers differ from the emulator's by {off:.0f} LSB")
        return float(off)

    def on_emulator() -> int:
        emulated = TARGETS.load("emulator:tflite-reference")
        off = differing(file, TARGETS.load("tflite-ref"), emulated, samples)
        name, count = next(iter(off.items()), ("", 0))
        _require(not off, f"{count} integers of {name} differ from tflite-ref's")
        return function_ties(onnx_file, samples).different

    _told(found, "tflite-ref", on_tflite, lambda both: f"{both[0]} of {both[1]:,}")
    _told(found, "tflm", on_tflm, lambda _: "0")
    _told(found, "emulator", on_emulator, str)
