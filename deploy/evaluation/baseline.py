"""The committed file that a gate compares with.

Which samples, and which of them each stage answered right.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import edgeq
from edgeq.brief import brief
from edgeq.deploy.evaluation.outputs.answers import require_accuracy
from edgeq.deploy.evaluation.outputs.evaluation_data import EvaluationData
from edgeq.errors import ArtefactError, UsageError
from edgeq.files import read_bytes, write_json
from edgeq.machine import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.deploy.evaluation.compare import Observed

SCHEMA = "edgeq.baseline/3"
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One stage at the time of the baseline.

    Attributes:
        correct: bool, (samples,): whether each sample was answered right, in the order of the
            samples; None where a task's score was measured.
        size_bytes: of the artefact.
        sha256: of the artefact.
        score: that score; None where answers are right or wrong.
    """

    correct: NDArray[np.bool_] | None
    size_bytes: int
    sha256: str
    score: float | None = None

    __repr__ = brief

    @property
    def value(self) -> float:
        """The score, or the share of samples answered right."""
        if self.correct is not None:
            return float(self.correct.mean())
        return float("nan") if self.score is None else self.score


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """What was measured when the numbers were last accepted.

    Attributes:
        data: the samples, and how they are fed.
        metric: what was measured of each stage.
        reference: the name of the stage that the gap is counted from.
        stages: by name, ``artefact @ target``.
        context: what the answers may depend on: versions of runtimes by package, and the
            processor's integer instructions.
    """

    data: EvaluationData
    metric: str
    reference: str
    stages: Mapping[str, Entry]
    context: Mapping[str, str]

    __repr__ = brief

    @classmethod
    def of(cls, observed: Observed) -> Baseline:
        """The baseline that a run makes.

        Raises:
            UsageError: a stage of it has neither an accuracy nor a score.
        """
        require_measured(observed)
        comparison = observed.comparison
        stages = {
            stage.name: Entry(
                observed.correct(stage) if stage.score is None else None,
                stage.size_bytes,
                observed.artefacts[stage.name],
                None if stage.score is None else stage.score.value,
            )
            for stage in comparison.stages
        }
        return cls(observed.data, observed.measure, comparison.reference, stages, _context())

    def write(self, path: Path) -> None:
        """Write or replace the file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        reference = self.stages[self.reference].value
        content = {
            "schema": SCHEMA,
            "edgeq_version": edgeq.__version__,
            "metric": self.metric,
            **self.data.to_dict(),
            "reference": self.reference,
            "context": dict(self.context),
            "stages": {
                name: {
                    **_figures(entry, reference),
                    "size_bytes": entry.size_bytes,
                    "sha256": entry.sha256,
                }
                for name, entry in self.stages.items()
            },
        }
        write_json(path, content, overwrite=True)

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read a baseline that may be broken.

        Raises:
            ArtefactError: missing, or no baseline.
        """
        if not path.exists():
            raise ArtefactError(
                f"there is no baseline at {path}",
                hint="make it with --update, look at it, and commit it",
            )
        try:
            return _parse(json.loads(read_bytes(path, "baseline", limit=MAX_BYTES)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ArtefactError(
                f"{path} is no usable baseline: {error}", hint="write it again with --update"
            ) from error


def require_measured(observed: Observed) -> None:
    """Return where each stage has an accuracy or a score.

    Raises:
        UsageError: one has none; says what it answers with.
    """
    if all(stage.score is None for stage in observed.comparison.stages):
        require_accuracy(observed.answering.items())
    for stage in observed.comparison.stages:
        if stage.score is not None and not math.isfinite(stage.score.value):
            raise UsageError(
                f"{stage.name} has no {stage.score.name} on these samples",
                hint="use more samples, with labels of the kind that it is about",
            )


def _figures(entry: Entry, reference: float) -> dict[str, Any]:
    if entry.correct is None:
        return {"score": entry.score}
    return {
        "accuracy": entry.value,
        "gap_points": 100 * (reference - entry.value),
        "correct": base64.b64encode(np.packbits(entry.correct).tobytes()).decode(),
    }


def changes(before: Baseline) -> list[str]:
    """What the answers may depend on and is different now, a line each."""
    then, now = before.context, _context()
    names = (name for name in {**then, **now} if then.get(name) != now.get(name))
    return [
        f"{name}: {then.get(name, 'absent')} then, {now.get(name, 'absent')} now" for name in names
    ]


def _context() -> dict[str, str]:
    machine = fingerprint()
    return {**machine.runtimes, "instructions": f"{machine.architecture} {' '.join(machine.isa)}"}


def _parse(content: Any) -> Baseline:
    if content["schema"] != SCHEMA:
        raise ValueError(f"its schema is {content['schema']!r}, not {SCHEMA!r}")
    data = EvaluationData.read(content)
    stages = {str(name): _entry(entry, data.samples) for name, entry in content["stages"].items()}
    if content["reference"] not in stages:
        raise ValueError("its reference is none of its stages")
    return Baseline(
        data, str(content["metric"]), str(content["reference"]), stages, _texts(content["context"])
    )


def _texts(content: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in content.items()}


def _entry(content: Any, samples: int) -> Entry:
    if "score" in content:
        score = float(content["score"])
        if not math.isfinite(score):
            raise ValueError("a stage's score is no number")
        return Entry(None, int(content["size_bytes"]), str(content["sha256"]), score)
    try:
        packed = np.frombuffer(base64.b64decode(content["correct"], validate=True), np.uint8)
    except binascii.Error as error:
        raise ValueError(f"a stage's answers are not base64: {error}") from error
    if samples < 1 or len(packed) != -(-samples // 8):
        raise ValueError(
            f"a stage has {len(packed)} bytes of answers, which are not those of {samples} samples"
        )
    correct = np.unpackbits(packed, count=samples).astype(np.bool_)
    return Entry(correct, int(content["size_bytes"]), str(content["sha256"]))
