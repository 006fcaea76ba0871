"""What an artefact answers with.

A score for each class, the class itself, or something that has no accuracy.

A number that only looks like an accuracy is worse than none: the place of the largest of a
detector's coordinates is no class, and one value a sample is always at place 0.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeq.deploy.guessing import like_guessing, next_step
from edgeq.errors import UsageError
from edgeq.formats.artefact import detect
from edgeq.metrics.accuracy import accuracy, hardly_better, near_chance, top1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split
    from edgeq.results import Accuracy
    from edgeq.target import TensorSpec

AnswerKind = Literal["scores", "classes", "values"]
_CLASS_TYPES = ("int32", "int64")
ONE_VALUE = "answers with one value a sample"
AS_VALUES = (
    f"{ONE_VALUE}, and the labels are read as classes: where they are numbers to predict, "
    "edgeq compare --task mae judges it"
)


@dataclass(frozen=True, slots=True)
class Answering:
    """How outputs are read as answers.

    Attributes:
        kind: scores, of which the largest answers; numbers of classes, as an ArgMax gives; or
            values of another meaning.
        unscored: why there is no accuracy, in words that continue "it"; empty where there is one.
    """

    kind: AnswerKind
    unscored: str = ""

    @property
    def alone(self) -> bool:
        """Whether there is one value a sample, which is no class."""
        return self.unscored == ONE_VALUE

    def of(self, outputs: NDArray[np.float32]) -> NDArray[np.int64] | None:
        """The answers in the outputs of a batch, (samples, ...): int64, (samples, answers each).

        None where they answer nothing that could be equal or different: one value a sample that is
        no class, or an image, boxes or other values that have several axes.
        """
        values = outputs.reshape(len(outputs), -1)
        if self.kind == "classes":
            return values.astype(np.int64)
        if values.shape[1] not in outputs.shape[1:]:
            return None
        return None if values.shape[1] == 1 else top1(values)[:, np.newaxis]

    def accuracy(self, answers: NDArray[np.int64] | None, part: Split) -> Accuracy | None:
        """The share of samples answered right; None where accuracy has no meaning."""
        if answers is None or self.unscored:
            return None
        return accuracy(answers[:, 0] == part.class_labels)


def answering(
    artefact: Path, spec: TensorSpec, shape: Sequence[int], source: DataSource
) -> Answering:
    """How to read what an artefact answers on data of classes.

    Args:
        artefact: the file.
        spec: its first output, as its session describes it.
        shape: the dimensions of one sample of it.
        source: the data.
    """
    outputs, declared = _declared(artefact)
    size, long = math.prod(shape), [n for n in shape if n != 1]
    classes, what = len(source.classes), " x ".join(map(str, shape)) or "1"
    is_class = declared in _CLASS_TYPES or (spec.dtype in _CLASS_TYPES and spec.params is None)
    scores = len(long) == 1 and size == classes
    kind: AnswerKind = "scores" if scores else "classes" if is_class else "values"
    if outputs > 1:
        return Answering(kind, f"has {outputs} outputs")
    if kind == "classes":
        return Answering(
            kind, "" if size == 1 else f"answers with {what} numbers of classes a sample"
        )
    if size == 1:
        return Answering(kind, ONE_VALUE)
    if kind == "values":
        return Answering(
            kind,
            f"answers with {what} values a sample, and {source.name} has {classes} classes"
            f"{_from_one(source) if size == classes - 1 else ''}",
        )
    return Answering(kind)


def _from_one(source: DataSource) -> str:
    """Whether classes are counted from 1, in words."""
    parts = (source.train, source.validation, source.test)
    known = [part.labels for part in parts if len(part) and isinstance(part.labels, np.ndarray)]
    if not known or any(each.dtype.kind not in "iu" or not each.min() for each in known):
        return ""
    return ", of which 0 is never met: number them from 0"


class Gathered:
    """The answers of all samples, batch by batch; 8 bytes of memory for each."""

    def __init__(self) -> None:
        self._content, self._width = array("q"), 1

    def append(self, answers: NDArray[np.int64] | None) -> None:
        """Those of one batch, (samples, answers each); None where they answer nothing."""
        if answers is not None:
            self._width = answers.shape[1]
            self._content.frombytes(answers.astype(np.int64).tobytes())

    def all(self) -> NDArray[np.int64] | None:
        """Those of all batches, which end with this; None where none answered anything."""
        if not self._content:
            return None
        return np.frombuffer(self._content, np.int64).reshape(-1, self._width)


def agreement(
    mine: NDArray[np.int64] | None, reference: NDArray[np.int64] | None
) -> tuple[float | None, NDArray[np.bool_] | None]:
    """The share of equal answers, and which samples have a different one.

    None where there are no answers to compare.
    """
    if mine is None or reference is None or mine.shape != reference.shape:
        return None, None
    differs = mine != reference
    return 1 - float(differs.mean()), differs.any(axis=1)


def remarks(
    found: Iterable[tuple[str, Answering, Accuracy | None]],
    source: DataSource,
    tried: Callable[[str], str] = lambda _name: "",
) -> tuple[str, ...]:
    """What a reader of accuracies has to know, a sentence or some each.

    Where there is none and why, and where it is that of guessing.

    Args:
        found: name of a stage, how its outputs are read, and its accuracy.
        source: the data.
        tried: tells what else was tried with a stage that answers like guessing.
    """
    stages, classes = list(found), len(source.classes)
    known = [
        (name, scored)
        for name, answers, scored in stages
        if scored is not None and not answers.unscored
    ]
    told: dict[str, list[str]] = {}
    guessed: dict[str, dict[str, list[str]]] = {}  # by what to do next, then by what was found
    best = max((scored for _, scored in known), key=lambda each: each.fraction, default=None)
    hopeless = best is not None and near_chance(best, classes) and hardly_better(best, classes)
    experience = tried(known[0][0]) if hopeless else ""
    for name, answers, scored in stages:
        if answers.unscored:
            text = (
                f"no accuracy, for it {AS_VALUES}"
                if answers.alone and source.task == "top1" and classes > 1
                else f"no accuracy, for it {answers.unscored}; drift and agreement tell how far "
                "stages are apart"
            )
            told.setdefault(text, []).append(name)
        elif scored is not None and (what := like_guessing(scored, classes)):
            step = next_step(scored, classes, known, source, experience)
            guessed.setdefault(step, {}).setdefault(what, []).append(name)
    return (
        *(f"{', '.join(names)}: {text}" for text, names in told.items()),
        *(
            "; ".join(f"{', '.join(names)}: {what}" for what, names in by_what.items())
            + f". {step}"
            for step, by_what in guessed.items()
        ),
    )


def require_accuracy(found: Iterable[tuple[str, Answering]]) -> None:
    """Return where each stage has an accuracy.

    Raises:
        UsageError: one has none; says what it answers with.
    """
    for name, answers in found:
        if answers.unscored:
            raise UsageError(
                f"{name} has no accuracy to judge: it {answers.unscored}",
                hint="name the task that judges it with --task NAME, choose the data that it was "
                "made for, or see its drift and agreement with edgeq compare",
            )


def _declared(artefact: Path) -> tuple[int, str]:
    """How many outputs a file has, and the type of the first where it has no grid.

    One of no type where it cannot be read so.
    """
    kind = detect(artefact)
    try:
        return (
            _of_onnx(artefact)
            if kind == "onnx"
            else _of_tflite(artefact)
            if kind == "tflite"
            else (1, "")
        )
    except Exception:  # noqa: BLE001  its own runtime has opened it; what else it is, is not for this question to refuse
        return 1, ""


def _of_onnx(artefact: Path) -> tuple[int, str]:
    import onnx

    from edgeq.formats.onnx_io import load

    outputs = load(artefact, weights=False).graph.output
    kind = onnx.TensorProto.DataType.Name(outputs[0].type.tensor_type.elem_type).lower()
    return len(outputs), kind


def _of_tflite(artefact: Path) -> tuple[int, str]:
    from edgeq.files import read_bytes
    from edgeq.formats.tflite_file import graph_of

    outputs = graph_of(read_bytes(artefact, "TFLite model")).outputs
    return len(outputs), "" if len(outputs[0].scale) else outputs[0].kind.lower()
