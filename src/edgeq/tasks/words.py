"""The word error rate of texts: insertions, deletions and substitutions for each word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeq.errors import UsageError
from edgeq.results import Score
from edgeq.tasks import choose
from edgeq.tasks.outputs import OPTION, OneOutput
from edgeq.tasks.slices import Columns

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.tasks import LabelKind, TaskData


class WordErrorRate:
    """The task: a text from scores of symbols in each step of time (CTC)."""

    summary = "word error rate (WER) of texts, from scores of symbols in each step (CTC, greedy)"
    labels: LabelKind = "texts"
    options: ClassVar[Mapping[str, str]] = {
        "output": OPTION,
        "blank": "the class of no symbol (0)",
        "unit": "word, or character for the character error rate (word)",
    }

    def meter(self, data: TaskData, options: Mapping[str, str]) -> WordMeter:
        """A meter for one stage."""
        given = choose(options, self.options, "wer")
        unit, blank = given.get("unit", "word"), given.get("blank", "0")
        if unit not in ("word", "character"):
            raise UsageError(f"the unit is {unit!r}", hint="write unit=word or unit=character")
        if not blank.isdecimal() or int(blank) >= len(data.classes):
            raise UsageError(
                f"the blank is {blank!r}, and there are {len(data.classes)} classes",
                hint="give the number of the class that stands for no symbol",
            )
        return WordMeter(data.classes, int(blank), unit, given.get("output", ""))


class WordMeter:
    """Counts edits and words of each sample."""

    higher_is_better = False

    def __init__(self, symbols: tuple[str, ...], blank: int, unit: str, output: str) -> None:
        self._symbols, self._blank, self._unit = symbols, blank, unit
        self._output = OneOutput("wer", output)
        self._counts: list[tuple[int, int]] = []
        self._columns = Columns()

    def update(
        self,
        outputs: Mapping[str, NDArray[np.float32]],
        labels: Sequence[str],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add one batch; labels are texts."""
        count = len(self._symbols)
        fitting = [
            name
            for name, values in outputs.items()
            if values.ndim == 3 and count in values.shape[1:]
        ]
        scores = self._output.of(outputs, fitting)
        steps = scores if scores.shape[2] == count else scores.transpose(0, 2, 1)
        for best, true in zip(steps.argmax(2), labels, strict=True):
            said, meant = (self._parts(text) for text in (self._text(best), str(true)))
            self._counts.append((edits(said, meant), len(meant)))
        self._columns.update(columns)

    def _text(self, best: NDArray[np.int64]) -> str:
        """Repeated symbols are one, and blanks none."""
        first = np.append(True, best[1:] != best[:-1])
        return "".join(self._symbols[k] for k in best[first] if k != self._blank)

    def _parts(self, text: str) -> Sequence[str]:
        return text.split() if self._unit == "word" else text

    def result(self) -> Score:
        """The score of all samples so far."""
        counts = np.array(self._counts, np.int64).reshape(-1, 2)

        def rate(where: NDArray[np.int64]) -> float:
            wrong, words = counts[where].sum(0)
            return float(wrong / words) if words else float("nan")

        return Score(
            "WER" if self._unit == "word" else "CER",
            rate(np.arange(len(counts))),
            len(counts),
            higher_is_better=False,
            per_slice=self._columns.figures(rate),
            remarks=(self._output.remark,) if self._output.remark else (),
        )


def edits(said: Sequence[Hashable], meant: Sequence[Hashable]) -> int:
    """The fewest insertions, deletions and substitutions from one sequence to the other.

    Levenshtein's distance, a row at a time.
    """
    before = list(range(len(meant) + 1))
    for i, mine in enumerate(said, 1):
        row = [i]
        for j, theirs in enumerate(meant, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (mine != theirs)))
        before = row
    return before[-1]


task = WordErrorRate()
