"""Several cores at a time, one order."""

from __future__ import annotations

from threading import Barrier

from edgeq.data.ahead import ahead


def test_the_next_parts_are_computed_meanwhile_and_come_in_order() -> None:
    started, together = list[int](), Barrier(2, timeout=60)

    def compute(number: int) -> int:
        started.append(number)
        together.wait()  # for another one
        return -number

    given = ((number or None, str(number)) for number in (1, 2, 0, 3, 4))
    found = [(made, note) for made, note in ahead(compute, given, 2)]
    assert found == [(-1, "1"), (-2, "2"), (None, "0"), (-3, "3"), (-4, "4")]
    assert sorted(started) == [1, 2, 3, 4]
