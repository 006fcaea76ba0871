"""A run begins in an empty folder, or overwrites, and resumes with the same recipe only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edgeq.errors import OutputError, UsageError
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.run.run_folder import BEST, LAST, begin, check_recipe

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = Recipe("resnet8", "digits")


@pytest.mark.parametrize("name", [LAST, BEST])
def test_an_earlier_run_is_kept_unless_it_may_go(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"an earlier run")
    with pytest.raises(OutputError, match="holds a run already"):
        begin(tmp_path, overwrite=False)
    assert (tmp_path / name).exists()
    begin(tmp_path, overwrite=True)
    assert not (tmp_path / BEST).exists()


def test_the_field_that_differs_is_named(tmp_path: Path) -> None:
    check_recipe(tmp_path, RECIPE, replace(RECIPE))
    with pytest.raises(UsageError, match=r"was trained with another lr: 0\.1, not 0\.2"):
        check_recipe(tmp_path, RECIPE, replace(RECIPE, lr=0.2))
