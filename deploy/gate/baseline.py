"""The committed file that a gate compares with.

It holds which samples, how they are fed, and of each stage what it answered, so that a later run
can be compared sample by sample; of each file what its integers are; and what answers may depend
on: versions, instruction sets, threads.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import edgeq
from edgeq.brief import brief
from edgeq.deploy.evaluation.outputs.answers import require_accuracy
from edgeq.deploy.evaluation.outputs.evaluation_data import EvaluationData
from edgeq.errors import ArtefactError, UsageError, first_line
from edgeq.files import read_bytes, write_json
from edgeq.machine import fingerprint

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.deploy.evaluation.compare import Observed

SCHEMA = "edgeq.baseline/4"
MAX_BYTES = 64 * 2**20
MAX_SAMPLES = 10_000_000
MAX_TEXT = 2_000  # characters of a name or value; a path has fewer
_MAKE = "make it with edgeq gate --update, look at it, and commit it"


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One stage at the time of the baseline.

    Attributes:
        correct: bool, (samples,): whether each sample was answered right, in the order of the
            samples; None where a task's score was measured.
        artefact: the file's name.
        sha256: of the file.
        score: that score; None where answers are right or wrong, or nobody knows.
        answers: int32, (samples,): the class that each sample was given; None for no classes.
        outputs: uint32, (samples,): a checksum of each sample's output.
        resampled: the score on each resample, (resamples,); empty without a task.
        further: likewise every further figure of a task, by name.
        values: every other figure, by name.
        parts: the figures of parts of the samples that a rule asked for, by name.
        facts: what the session said about itself.
        placement: operator to where and in what it ran; empty where nobody asked.
    """

    correct: NDArray[np.bool_] | None
    artefact: str
    sha256: str
    score: float | None = None
    answers: NDArray[np.int32] | None = None
    outputs: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    resampled: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    further: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    placement: Mapping[str, str] = field(default_factory=dict)

    __repr__ = brief

    @property
    def value(self) -> float:
        """The score, or the share of samples answered right; NaN without labels."""
        if self.correct is not None:
            return float(self.correct.mean())
        return math.nan if self.score is None else self.score


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """What was measured when the numbers were last accepted.

    Attributes:
        data: the samples, and how they are fed.
        metric: what was measured of each stage.
        stages: by name, ``artefact @ target``.
        numbers: file name to what is in it; see :mod:`edgeq.deploy.gate.numbers`.
        context: what the answers may depend on: versions of runtimes by package, the processor's
            integer instructions, threads.
        cpu: the processor's name; latencies of another one are not compared.
    """

    data: EvaluationData
    metric: str
    stages: Mapping[str, Entry]
    numbers: Mapping[str, Mapping[str, str]]
    context: Mapping[str, str]
    cpu: str = ""

    __repr__ = brief

    def with_stages(
        self, other: Baseline, names: Collection[str], gone: Collection[str]
    ) -> Baseline:
        """This one with some stages of another, and without those that are gone."""
        stages = {name: entry for name, entry in self.stages.items() if name not in gone}
        stages |= {name: other.stages[name] for name in names}
        files = {entry.artefact for entry in stages.values()}
        new = {other.stages[name].artefact for name in names}
        numbers = {
            name: (other if name in new else self).numbers.get(name, {}) for name in sorted(files)
        }
        return replace(other, stages=stages, numbers=numbers)

    def write(self, path: Path) -> None:
        """Write or replace the file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        content = {
            "schema": SCHEMA,
            "edgeq_version": edgeq.__version__,
            "metric": self.metric,
            **self.data.to_dict(),
            "context": dict(self.context),
            "cpu": self.cpu,
            "stages": {name: _written(entry) for name, entry in self.stages.items()},
            "files": {name: dict(parts) for name, parts in self.numbers.items()},
        }
        write_json(path, content, overwrite=True)

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read a baseline that may be broken.

        Raises:
            ArtefactError: missing, or no baseline.
        """
        if not path.exists():
            raise ArtefactError(f"there is no baseline at {path}", hint=_MAKE)
        return cls.parse(read_bytes(path, "baseline", limit=MAX_BYTES), str(path))

    @classmethod
    def parse(cls, content: bytes, where: str) -> Baseline:
        """Read what may be none.

        Args:
            content: the bytes.
            where: they come from, for messages.

        Raises:
            ArtefactError: they are no baseline.
        """
        hint = "write it again with edgeq gate --update"
        try:
            return _parse(json.loads(content))
        except KeyError as error:
            what = f"{where} is no usable baseline: it has no {first_line(error)}"
            raise ArtefactError(what, hint=hint) from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            what = f"{where} is no usable baseline: {first_line(error)}"
            raise ArtefactError(what, hint=hint) from error


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


def context_now(threads: int) -> dict[str, str]:
    """What answers may depend on, here and now."""
    machine = fingerprint()
    return {
        **machine.runtimes,
        "instructions": f"{machine.architecture} {' '.join(machine.isa)}",
        "threads": str(threads),
    }


def context_changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is different now, a line each."""
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return [
        f"{name}: {then.get(name, 'absent')} then, {now.get(name, 'absent')} now" for name in names
    ]


def _written(entry: Entry) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if entry.score is not None:
        figures["score"] = entry.score
    elif entry.correct is not None:
        figures["accuracy"] = entry.value
        figures["correct"] = base64.b64encode(np.packbits(entry.correct).tobytes()).decode()
    if entry.answers is not None:
        figures["answers"] = _packed(entry.answers.astype("<i4"))
    if len(entry.resampled):
        figures["drawn"] = _numbers(entry.resampled)
    if entry.further:
        figures["further_drawn"] = {name: _numbers(drawn) for name, drawn in entry.further.items()}
    return {
        "artefact": entry.artefact,
        "sha256": entry.sha256,
        **figures,
        "outputs": _packed(entry.outputs.astype("<u4")),
        "values": dict(entry.values),
        **({"parts": dict(entry.parts)} if entry.parts else {}),
        "facts": dict(entry.facts),
        "placement": dict(entry.placement),
    }


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    """For JSON, which has no NaN."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _read_numbers(content: Any) -> NDArray[np.float64]:
    return np.array([math.nan if each is None else float(each) for each in content])


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()


def _unpacked(text: str, dtype: str, samples: int) -> NDArray[Any]:
    packed = zlib.decompressobj()
    content = packed.decompress(_decoded(text), 4 * samples + 1)
    if len(content) != 4 * samples or packed.unconsumed_tail:
        raise ValueError(f"a stage has not one number for each of {samples} samples")
    return np.frombuffer(content, dtype)


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a stage's answers are not base64: {error}") from error


def _parse(content: Any) -> Baseline:
    if content["schema"] != SCHEMA:
        raise ValueError(f"its schema is {content['schema']!r}, not {SCHEMA!r}")
    data = EvaluationData.read(content)
    if not 0 < data.samples <= MAX_SAMPLES:
        raise ValueError(f"it is about {data.samples} samples")
    try:
        stages = {
            _text(name): _entry(entry, data.samples) for name, entry in content["stages"].items()
        }
    except zlib.error as error:
        raise ValueError(f"a stage's answers are damaged: {error}") from error
    files = {_text(name): _texts(parts) for name, parts in content["files"].items()}
    return Baseline(
        data,
        _text(content["metric"]),
        stages,
        files,
        _texts(content["context"]),
        _text(content["cpu"]),
    )


def _texts(content: Any) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in content.items()}


def _text(content: Any) -> str:
    """A text that a message may have to name."""
    text = str(content)
    if len(text) > MAX_TEXT:
        raise ValueError(f"a name or value in it has {len(text):,} characters")
    return text


def _entry(content: Any, samples: int) -> Entry:
    artefact, sha256 = _text(content["artefact"]), _text(content["sha256"])
    outputs = _unpacked(content["outputs"], "<u4", samples)
    values = {_text(name): float(value) for name, value in content["values"].items()}
    parts = {_text(name): float(value) for name, value in content.get("parts", {}).items()}
    facts, placement = _texts(content["facts"]), _texts(content["placement"])
    further = {
        _text(name): _read_numbers(drawn)
        for name, drawn in content.get("further_drawn", {}).items()
    }
    if "correct" not in content:
        score = None if content.get("score") is None else float(content["score"])
        if score is not None and not math.isfinite(score):
            raise ValueError("a stage's score is no number")
        return Entry(
            None,
            artefact,
            sha256,
            score=score,
            outputs=outputs,
            resampled=_read_numbers(content.get("drawn", ())),
            further=further,
            values=values,
            parts=parts,
            facts=facts,
            placement=placement,
        )
    packed = np.frombuffer(_decoded(content["correct"]), np.uint8)
    if samples < 1 or len(packed) != -(-samples // 8):
        raise ValueError(
            f"a stage has {len(packed)} bytes of answers, which are not those of {samples} samples"
        )
    return Entry(
        np.unpackbits(packed, count=samples).astype(np.bool_),
        artefact,
        sha256,
        answers=_unpacked(content["answers"], "<i4", samples),
        outputs=outputs,
        further=further,
        values=values,
        parts=parts,
        facts=facts,
        placement=placement,
    )
