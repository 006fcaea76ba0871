"""A benchmark that is stopped says so, and shows no traceback."""

from __future__ import annotations

import pytest
from benchmarks.support.command import run

from edgeq.errors import Interrupted, UsageError


@pytest.mark.parametrize("kind", [UsageError, Interrupted])
def test_an_error_of_ours_is_told_with_its_hint_and_its_code(
    kind: type[UsageError | Interrupted], capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise kind("it is cut off", hint="go on")

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == kind.exit_code
    assert capsys.readouterr().err == "it is cut off\n  hint: go on\n"


def test_control_c_ends_it_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == 130
    assert capsys.readouterr().err == ""


def test_a_bug_is_not_hidden() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)
