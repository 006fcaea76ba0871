"""Student's quantiles against scipy's."""

from __future__ import annotations

import pytest
from scipy.stats import t as students

from edgeq.numerics.student import student_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30, 300])
@pytest.mark.parametrize("share", [0.025, 0.5, 0.9, 0.95, 0.975])
def test_they_are_good_to_three_digits(share: float, freedom: int) -> None:
    assert student_quantile(share, freedom) == pytest.approx(
        float(students.ppf(share, freedom)), rel=3e-3, abs=1e-12
    )
