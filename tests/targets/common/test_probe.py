"""Whether a runtime is there is asked of the runtime."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from edgeq.errors import TargetError
from edgeq.targets.common.probe import Runtime, find, installed, probe

if TYPE_CHECKING:
    from pathlib import Path

ABSENT = Runtime("edgeq-no-such-runtime", "edgeq_no_such_runtime")
NUMPY = Runtime("numpy", "numpy")


def test_an_absent_runtime_is_explained() -> None:
    found = probe([ABSENT])
    assert not found.usable
    assert "edgeq_no_such_runtime" in found.why_not
    assert found.hint == "pip install edgeq-no-such-runtime"
    with pytest.raises(TargetError, match="cannot be imported"):
        find([ABSENT])


def test_the_next_best_runtime_stands_in_and_is_named() -> None:
    runtime, module = find([ABSENT, NUMPY])
    assert (runtime, module.__name__) == (NUMPY, "numpy")
    assert list(probe([ABSENT, NUMPY]).versions) == ["numpy"]


def test_a_runtime_that_breaks_at_import_is_not_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edgeq_broken_runtime.py").write_text(
        "raise OSError('libbroken.so: undefined symbol')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = probe([Runtime("edgeq-broken-runtime", "edgeq_broken_runtime")])
    assert "undefined symbol" in found.why_not
    assert "edgeq_broken_runtime" not in sys.modules


def test_a_package_without_metadata_has_an_unknown_version() -> None:
    assert installed(ABSENT) == "unknown"
