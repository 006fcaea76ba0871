"""An audit that could not be made never reads like one that found nothing."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "release" / "audit.py"
SOUND = {"name": "one", "version": "1.0", "vulns": []}
WEAK = {
    "name": "two",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}, {"id": "PYSEC-2", "fix_versions": []}],
}
UNKNOWN = {"name": "three", "skip_reason": "Dependency not found"}


@pytest.fixture(scope="module")
def audit() -> dict[str, Any]:
    """The script of ``make audit``."""
    return runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize(
    ("packages", "code", "told"),
    [
        ([SOUND], 0, "1 of 1 locked packages were looked up; known vulnerabilities: 0"),
        ([SOUND, WEAK], 1, "two 2.0: PYSEC-1, fixed in 2.1"),
        ([SOUND, WEAK], 1, "PYSEC-2, fixed in no version yet"),
        ([SOUND, UNKNOWN], 2, "does not know them: three"),
        ([WEAK, UNKNOWN], 1, "known vulnerabilities: 2"),
        ([UNKNOWN] * 9, 2, "and 4 more"),
        ([], 2, "0 of 0"),
    ],
)
def test_the_code_tells_what_was_found_from_what_was_not_looked_up(
    audit: dict[str, Any],
    packages: list[dict[str, Any]],
    code: int,
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert audit["verdict"](packages) == code
    said = capsys.readouterr()
    assert told in said.out + said.err
    assert ("Hint:" in said.err) == any("skip_reason" in one for one in packages)


def test_without_an_answer_it_says_why_and_what_to_do(
    audit: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "Traceback\nConnectionError: the name cannot be resolved\n"
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr(subprocess, "run", run)
    assert audit["main"](["-s", "osv"]) == 2
    told = capsys.readouterr()
    assert "Nothing was audited: ConnectionError: the name cannot be resolved" in told.err
    assert "Hint:" in told.err
    assert "locks are pinned to one version, with hashes" in told.out
    assert {Path(word).name for word in asked[0] if word.endswith(".txt")} == {
        path.name for path in (SCRIPT.parents[1] / "requirements").glob("*.txt")
    }
    assert asked[0][-2:] == ["-s", "osv"]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("one==1.0 \\\n    --hash=sha256:{hash} \\\n    --hash=sha256:{hash}\n", 0),
        ("one==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:{hash}\n", 0),
        ("one==1.0\n", 1),
        ("one>=1.0 \\\n    --hash=sha256:{hash}\n", 1),
        ("one==1.0 \\\n    --hash=md5:{hash}\n", 1),
        ("# nothing\n", 1),
    ],
)
def test_each_package_is_one_version_with_hashes(
    audit: dict[str, Any], entry: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "core.txt").write_text(entry.format(hash="0" * 64))
    assert audit["pinned"](tmp_path) == code
    assert ("Not pinned: one" in capsys.readouterr().err) == (code == 1 and "one" in entry)
