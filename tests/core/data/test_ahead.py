"""Several cores at a time, one order."""

from __future__ import annotations

from threading import Barrier, Lock

import pytest

from edgeq.data.ahead import ahead, in_parts


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


@pytest.mark.parametrize("workers", [1, 3])
def test_parts_are_computed_beside_each_other_and_come_in_order(workers: int) -> None:
    together = Barrier(2, timeout=60)
    locks, order = [Lock(), Lock()], [list[int](), list[int]()]

    def compute(number: int, part: int) -> tuple[int, int]:
        assert locks[part].acquire(blocking=False)
        order[part].append(number)
        together.wait()  # for the other part, which another thread computes
        locks[part].release()
        return number, part

    found = list(in_parts(compute, range(6), 2, workers))
    assert found == [(number, [(number, 0), (number, 1)]) for number in range(6)]
    assert order == [list(range(6))] * 2


def test_what_is_raised_comes_in_its_turn_and_ends_the_work() -> None:
    done = list[int]()

    def compute(number: int, part: int) -> int:
        if number == 1:
            raise ValueError(str(part))
        done.append(number)
        return number

    work = in_parts(compute, iter(range(100)), 1, 1)
    assert next(work) == (0, [0])
    with pytest.raises(ValueError, match="0"):
        next(work)
    assert max(done) < 5
