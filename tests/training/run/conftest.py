"""One finished run, which the tests of the loop compare theirs with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.models.tiny_training import RECIPE, source

from edgeq.training.run import loop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, loop.TrainingResult]:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, loop.train(RECIPE, source(), folder, threads=1)
