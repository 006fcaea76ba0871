"""Workers that do as their options say, and what is left of them afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.models import onnx_models

from edgeq.targets import ort
from edgeq.targets.workers.launchers import Here
from edgeq.targets.workers.process import Limits
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.targets.workers.launchers import Launcher

    Make = Callable[..., WorkerTarget]

ENGINE = str(Path(__file__).parent / "engine_that_may_fail.py")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return onnx_models.save(onnx_models.float_model(), tmp_path / "model.onnx")


@pytest.fixture
def engine_file() -> str:
    return ENGINE


@pytest.fixture
def make() -> Make:
    """Makes a target whose engine adds one, and then commits the fault named."""

    def target(
        fault: str = "",
        *,
        launcher: Launcher | None = None,
        seconds: float = 20.0,
        memory_bytes: int | None = None,
    ) -> WorkerTarget:
        limits = Limits(open_seconds=20.0, run_seconds=seconds, memory_bytes=memory_bytes)
        return WorkerTarget(
            "faulty",
            ort.cpu.capabilities,
            ENGINE,
            options={"fault": fault},
            launcher=launcher or Here(),
            limits=limits,
        )

    return target
