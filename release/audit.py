"""Ask a database of known vulnerabilities about every package of the locks; ``make audit`` does so.

pip-audit asks. It calls a package that the database does not know "skipped", and ends as if all
were well; a machine that reaches a mirror of its index only, or no network, must not read so. So
the exit code is 0 where every package was looked up and nothing is known, 1 where something is
known, and 2 where the question could not be answered. What needs no network is checked first: that
each package is pinned to one version, with hashes; the exit code is 1 where one is not.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

LOCKS = Path(__file__).parents[1] / "requirements"
_PIN = re.compile(r"[a-z0-9][a-z0-9._-]*==[^\s;]+( ;[^\\]*)?( --hash=sha256:[0-9a-f]{64})+")
_HINT = """\
Hint: give the command where the internet is reached. A mirror of a package index keeps no such
records; another database is asked with `make audit AUDIT="-s osv"`, an advisory that does not
concern edgeq is left out with `make audit AUDIT="--ignore-vuln ID"`."""


def main(flags: Sequence[str]) -> int:
    """Audit the locks; returns the exit code.

    Args:
        flags: further ones for pip-audit.
    """
    if (code := pinned(LOCKS)) != 0:
        return code
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "audit.json"
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--progress-spinner", "off"]
        for lock in sorted(LOCKS.glob("[a-z]*.txt")):
            command += ["--requirement", str(lock)]
        done = subprocess.run(
            [*command, "--format", "json", "--output", str(answer), *flags],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        content = answer.read_text(encoding="utf-8") if answer.exists() else ""
    if not content:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [
            "it does not say why"
        ]
        print(f"Nothing was audited: {said[-1][:300]}\n{_HINT}", file=sys.stderr)
        return 2
    return verdict(json.loads(content)["dependencies"])


def pinned(folder: Path) -> int:
    """Tell whether the locks pin every package to one version, with hashes; returns the exit code.

    Args:
        folder: where the locks lie.
    """
    locks = sorted(folder.glob("[a-z]*.txt"))
    entries = [
        " ".join(entry.split())
        for lock in locks
        for entry in lock.read_text("utf-8").replace("\\\n", " ").splitlines()
        if entry.strip() and not entry.startswith("#")
    ]
    loose = [entry.partition(" ")[0] for entry in entries if not _PIN.fullmatch(entry)]
    print(
        f"{len(entries) - len(loose)} of {len(entries)} packages in {len(locks)} locks are pinned "
        "to one version, with hashes"
    )
    if loose:
        print(f"Not pinned: {', '.join(loose)}\nHint: make lock", file=sys.stderr)
    return 1 if loose or not entries else 0


def verdict(packages: Sequence[dict[str, Any]]) -> int:
    """Tell what is known of the packages; returns the exit code.

    Args:
        packages: as pip-audit writes them: ``name``, ``version`` and ``vulns``, or ``skip_reason``.
    """
    left_out = [one["name"] for one in packages if "skip_reason" in one]
    known = [(one, found) for one in packages for found in one.get("vulns", ())]
    for one, found in known:
        fixed = ", ".join(found["fix_versions"]) or "no version yet"
        print(f"{one['name']} {one['version']}: {found['id']}, fixed in {fixed}")
    print(
        f"{len(packages) - len(left_out)} of {len(packages)} locked packages were looked up; "
        f"known vulnerabilities: {len(known)}"
    )
    if left_out:
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        print(
            f"Not audited, since the database does not know them: {', '.join(left_out[:5])}{more}"
            f"\n{_HINT}",
            file=sys.stderr,
        )
    if known:
        return 1
    return 2 if left_out or not packages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
