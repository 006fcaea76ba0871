"""Runs about the same files are one history; others stand beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.report.documents import comparison, finding, made, profile

from edgeq.deploy.report.sections.history import section, subjects_of

if TYPE_CHECKING:
    from edgeq.deploy.report.documents import Document


def runs(count: int = 3) -> list[Document]:
    return [
        made(
            "compare",
            f"run-{n}",
            {"comparison": comparison(2, lost=100 * (n == count - 1))},
            f"2026-03-0{n + 1}",
        )
        for n in range(count)
    ]


def test_subjects_are_told_apart_by_their_files_and_sorted_by_time() -> None:
    first, second, third = runs()
    other = made("compare", "other", {"comparison": {"stages": [{"artefact": "b.onnx"}]}})
    found = subjects_of([third, other, first, second])
    assert [[run.label for run in subject] for subject in found] == [
        ["run-0", "run-1", "run-2"],
        ["other"],
    ]


def test_what_moved_most_is_said() -> None:
    drawn = section([runs()])
    assert "From run-0 to run-2, net.tflite @ tflite moved most: -5." in drawn
    assert drawn.count("<svg") >= 3


def test_times_of_two_machines_are_not_compared() -> None:
    def times(cpu: str) -> Document:
        content = {
            "machine": {"cpu": cpu},
            "profiles": [profile("a.onnx", "ort-cpu", 1.0, trusted=True)],
        }
        return made("profile", "p", content)

    assert section([[times("a"), times("a")]])
    assert not section([[times("a"), times("b")]])


def test_gates_are_listed() -> None:
    gates = [
        made("gate", f"g{n}", {"outcome": outcome, "findings": [finding("size", "fail", "big")]})
        for n, outcome in enumerate(("failed", "passed"))
    ]
    assert "<caption>Gates, oldest first</caption>" in section([gates])
