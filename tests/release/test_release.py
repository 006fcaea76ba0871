"""``make release`` in a scratch clone: all of a release, or nothing; ``make reproduce`` too."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SET = ("build", "cyclonedx_py", "towncrier")
FRAGMENTS = {
    "one.added.md": "A first change, which is long enough\nfor two lines.\n",
    "two.added.md": "A second one.\n",
    "three.fixed.md": "`x` is fixed.\n",
}

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of what is committed, with fragments, and with the environment of this checkout."""
    for need in ("git", "make"):
        if shutil.which(need) is None:
            pytest.skip(f"there is no {need} here")
    absent = [name for name in SET if importlib.util.find_spec(name) is None]
    if absent or not (ROOT / ".git").exists():
        pytest.skip(f"not installed: {', '.join(absent) or 'a git checkout'}; hint: make install")
    place = tmp_path / "a clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(place)], check=True)
    (place / ".venv").symlink_to(ROOT / ".venv")
    for key, value in (("user.name", "somebody"), ("user.email", "somebody@example.org")):
        git(place, "config", key, value)
    git(place, "switch", "--quiet", "--create", "releasing")
    for name, text in FRAGMENTS.items():
        (place / "release" / "changes" / name).write_text(text, encoding="utf-8")
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", "Changes")
    return place


def git(place: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=place, capture_output=True, encoding="utf-8", check=True
    ).stdout.strip()


def make(place: Path, *goals: str) -> subprocess.CompletedProcess[str]:
    """Make goals with the environment as it is."""
    kept = [f"--assume-old=.venv/.edgeq-{name}" for name in ("core", "release")]
    return subprocess.run(
        ["make", "--silent", *kept, *goals],
        cwd=place,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_a_release_is_whole(clone: Path) -> None:
    before = git(clone, "rev-parse", "HEAD")
    for version, why in (("0.0.1", "no version after"), ("new", "no version"), ("", "no version")):
        done = make(clone, "release", f"VERSION={version}")
        assert done.returncode
        assert why in done.stderr
    (clone / "x").touch()
    assert "not committed" in make(clone, "release", "VERSION=0.2.0").stderr
    (clone / "x").unlink()
    assert git(clone, "rev-parse", "HEAD") == before
    assert not (clone / "dist").exists()

    done = make(clone, "release", "VERSION=0.2.0")
    assert done.returncode == 0, done.stderr
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "rev-parse", "v0.2.0^{commit}") == git(clone, "rev-parse", "releasing")
    assert git(clone, "rev-parse", "HEAD~1") == before
    assert git(clone, "cat-file", "-t", "v0.2.0") == "tag"
    assert "v0.2.0" not in git(ROOT, "tag", "--list")  # nothing was pushed
    home = (clone / "src" / "edgeq" / "__init__.py").read_text(encoding="utf-8")
    assert '__version__ = "0.2.0"' in home
    log = (clone / "CHANGELOG.md").read_text(encoding="utf-8").partition("## [0.1.0]")[0]
    section = log.partition("<!-- releases -->\n\n")[2]
    assert re.match(r"## \[0\.2\.0\] - \d{4}-\d\d-\d\d\n\n### Added\n\n- ", section)
    for text in FRAGMENTS.values():
        assert "- " + text.replace("\n", "\n  ").rstrip() + "\n" in section
    assert section.endswith(".\n\n")
    lines = [line for line in section.splitlines()[1:] if line]
    assert [line for line in lines if not line.startswith(("### ", "- ", "  "))] == []
    assert [path.name for path in (clone / "release" / "changes").iterdir()] == ["README.md"]
    held(clone / "dist")

    assert "no version after 0.2.0" in make(clone, "release", "VERSION=0.2.0").stderr
    assert "no fragment" in make(clone, "release", "VERSION=0.3.0").stderr


def held(dist: Path) -> None:
    """The files of a release: sums that fit, and a bill of what edgeq brings."""
    lines = (dist / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert set(sums) == {
        "edgeq-0.2.0-py3-none-any.whl",
        "edgeq-0.2.0.tar.gz",
        "edgeq-0.2.0.cdx.json",
    }
    for name, wanted in sums.items():
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == wanted
    text = (dist / "edgeq-0.2.0.cdx.json").read_text(encoding="utf-8")
    schema = importlib.import_module("cyclonedx.schema").SchemaVersion.V1_6
    validator = importlib.import_module("cyclonedx.validation.json").JsonStrictValidator(schema)
    assert validator.validate_str(text) is None
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == "0.2.0"
    held = {one["name"]: one for one in bill["components"]}
    assert {"torch", "numpy", "onnx", "onnxruntime", "ai-edge-litert", "mpmath"} <= set(held)
    assert not {"pytest", "towncrier", "hatchling", "openvino"} & set(held)
    for one in held.values():
        assert "+" not in one["version"]
        assert one["externalReferences"][0]["hashes"]
    assert all(held[name].get("licenses") for name in ("torch", "numpy", "onnxruntime"))
    needs = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    assert held["torch"]["bom-ref"] in needs["pkg:pypi/edgeq@0.2.0"]
    assert set(needs) == {"pkg:pypi/edgeq@0.2.0", *(one["bom-ref"] for one in held.values())}
    assert "://" not in json.dumps(bill["components"])


def test_what_is_built_twice_is_the_same(clone: Path) -> None:
    done = make(clone, "reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("the same bytes.\n")
    assert make(clone, "build").returncode == 0
    built = (clone / "dist" / "edgeq-0.1.0.tar.gz").read_bytes()
    assert hashlib.sha256(built).hexdigest() in done.stdout
