"""The smallest files that fail, with their input and a script that shows it.

It begins with the first wrong operator alone, given what the failing stage gave it. Where the fault
does not show there, as one of fusion does not, operators before it are taken in until it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.evaluation.chain import reference_name
from edgeq.deploy.why.cutting import Part, part_of
from edgeq.errors import EdgeqError, OutputError
from edgeq.files import write_bytes, write_text
from edgeq.formats.artefact import detect
from edgeq.quant import QuantizedTensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.why.measure import StageMeter
    from edgeq.deploy.why.run import Findings

SCRIPT = "reproduce.py"
_INPUT = "input.npz"


@dataclass(frozen=True, slots=True)
class _Reduced:
    """A pair of files that may fail.

    Attributes:
        files: name to part: the reference first, then the stage's.
        targets: where each runs.
        tensor: what they compute.
        step: one step of it.
    """

    files: Mapping[str, Part]
    targets: Mapping[str, str]
    tensor: str
    step: float


def require_new(folder: Path) -> None:
    """Return where a folder holds no reproducer yet; asked before the work is done.

    Raises:
        OutputError: it holds one.
    """
    if (folder / SCRIPT).exists():
        raise OutputError(
            f"{folder} holds a reproducer already", hint="name another folder, or remove it"
        )


def write_reproducer(findings: Findings, folder: Path) -> Path | None:
    """Write the smallest files that show the first wrong operator.

    Args:
        findings: what was found.
        folder: for ``reference`` and ``stage`` files, ``input.npz`` and ``reproduce.py``.

    Returns:
        The script; None where no operator is wrong.

    Raises:
        OutputError: the folder cannot be written.
    """
    wrong = [
        (stage.pair, findings.meters[stage.pair])
        for stage in findings.stages
        if stage.pair in findings.meters and findings.meters[stage.pair].wrong
    ]
    if not wrong or findings.file is None:
        return None
    pair, meter = wrong[0]
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / SCRIPT
    for reduced in _attempts(findings.file, pair, meter):
        _write(reduced, meter, folder)
        if _fails(script):
            break
    return script


def _attempts(file: Path, pair: Pair, meter: StageMeter) -> Iterator[_Reduced]:
    """The wrong operator, and ever more of those before it."""
    first = meter.first
    if first is None:
        return
    before = [
        name
        for name, each in sorted(meter.meters.items(), key=lambda item: item[1].operator.number)
        if each.operator.number < first.number
    ]
    sizes = [0, 1, 2, 4, 8, 16, 32, len(before)]
    for size in dict.fromkeys(min(size, len(before)) for size in sizes):
        inside = before[len(before) - size :]
        try:
            yield _reduced(file, pair, first.tensor, inside, meter)
        except EdgeqError:  # a part that cannot stand alone
            continue


def _reduced(file: Path, pair: Pair, tensor: str, inside: list[str], meter: StageMeter) -> _Reduced:
    params = meter.meters[tensor].operator.params
    files = {f"reference{file.suffix}": part_of(file, tensor, inside)}
    targets = {f"reference{file.suffix}": reference_name(detect(file))}
    name = f"stage{pair.artefact.suffix}"
    files[name], targets[name] = part_of(pair.artefact, tensor, inside), pair.target
    step = 1.0 if params is None else float(np.max(params.scale))
    return _Reduced(files, targets, tensor, step)


def _write(reduced: _Reduced, meter: StageMeter, folder: Path) -> None:
    for name, part in reduced.files.items():
        write_bytes(folder / name, part.content, overwrite=True)
    needed = {tensor for part in reduced.files.values() for tensor in part.inputs.values()}
    stored = {
        name: _real(values)
        for name, values in (meter.kept.recorded if meter.kept is not None else {}).items()
        if name in needed
    }
    np.savez(folder / _INPUT, allow_pickle=False, **stored)
    runs = [
        (name, reduced.targets[name], dict(part.inputs)) for name, part in reduced.files.items()
    ]
    text = _TEMPLATE.format(tensor=reduced.tensor, step=reduced.step, runs=runs, input=_INPUT)
    write_text(folder / SCRIPT, text, overwrite=True)


def _real(values: QuantizedTensor | NDArray[np.float32]) -> NDArray[np.float32]:
    return values.dequantize() if isinstance(values, QuantizedTensor) else values


def _fails(script: Path) -> bool:
    """Whether the script finds a difference: it exits with 1 then."""
    import subprocess
    import sys

    return (
        subprocess.run([sys.executable, script], capture_output=True, check=False).returncode == 1
    )


_TEMPLATE = '''"""{tensor}: equal inputs, and results that differ by more than rounding.

Run it where edgeq is installed; it exits with status 1 while they do.
"""

import sys
from pathlib import Path

import numpy as np

from edgeq.target import TARGETS

HERE = Path(__file__).parent
STEP = {step!r}  # of {tensor}
RUNS = {runs!r}


def answer(file, target, inputs):
    with np.load(HERE / "{input}") as stored:
        fed = {{name: stored[tensor] for name, tensor in inputs.items()}}
    with TARGETS.load(target).open(HERE / file) as session:
        return session.run(fed if len(fed) > 1 else next(iter(fed.values())))


expected, seen = (answer(*run) for run in RUNS)
if expected.shape != seen.shape:
    seen = np.moveaxis(seen, -1, 1)
steps = np.rint((seen.astype(np.float64) - expected) / STEP)
print(RUNS[0][:2], "and", RUNS[1][:2], "differ in", int((abs(steps) > 1).sum()), "of", steps.size,
      "numbers by more than rounding, by up to", int(abs(steps).max()), "LSB")
sys.exit(int(abs(steps).max() > 1))
'''
