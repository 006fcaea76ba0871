"""The bill of materials of a release, in CycloneDX: what edgeq brings, with licences and hashes.

``cyclonedx-py`` describes the environment. Of that stays what an installation of edgeq without
extras holds, with the hashes of all files that the locks allow, whatever the system.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_LOCKS = ("core", "torch")
_ENTRY = re.compile(r"([a-z0-9][a-z0-9._-]*)==([^\s;]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bill(version: str, made_at: str) -> str:
    """The document, the same for the same locks.

    Args:
        version: of edgeq.
        made_at: seconds since 1970, as text.

    Raises:
        ValueError: the environment is not that of the locks.
    """
    locked = _locked()
    content = _environment(made_at)
    graph = {one["ref"]: one.get("dependsOn", []) for one in content["dependencies"]}
    kept: dict[str, dict[str, Any]] = {}
    for component in content["components"]:
        name = re.sub(r"[-_.]+", "-", component["name"]).lower()
        held = component["version"].partition("+")[0]  # torch's builds have local versions
        if name not in locked:
            continue
        wanted, hashes = locked[name]
        if held != wanted:
            raise ValueError(f"{name} {held} is installed, and {wanted} is locked")
        reference = f"pkg:pypi/{name}@{held}"
        kept[component["bom-ref"]] = {
            "type": "library",
            "bom-ref": reference,
            "name": name,
            "version": held,
            **{key: component[key] for key in ("description", "licenses") if key in component},
            "purl": reference,
            "externalReferences": [
                {
                    "type": "distribution",
                    "url": reference,
                    "comment": "any file of this version that has one of these hashes",
                    "hashes": [{"alg": "SHA-256", "content": one} for one in hashes],
                }
            ],
        }
    root = content["metadata"]["component"]
    reached = _reached(root["bom-ref"], {k: [o for o in v if o in kept] for k, v in graph.items()})
    names = {one: kept[one]["bom-ref"] for one in reached if one in kept}
    names[root["bom-ref"]] = f"pkg:pypi/edgeq@{version}"
    content["metadata"]["component"] = root | {
        "bom-ref": names[root["bom-ref"]],
        "purl": names[root["bom-ref"]],
        "version": version,
    }
    for tool in content["metadata"]["tools"]["components"]:
        tool.pop("externalReferences", None)
    content["components"] = sorted((kept[one] for one in names if one in kept), key=_reference)
    content["dependencies"] = sorted(
        (
            {"ref": name, "dependsOn": sorted(names[o] for o in graph[one] if o in names)}
            for one, name in names.items()
        ),
        key=lambda each: str(each["ref"]),
    )
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _reference(component: dict[str, Any]) -> str:
    return str(component["bom-ref"])


def _reached(start: str, graph: dict[str, list[str]]) -> set[str]:
    waiting, seen = [start], set[str]()
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting += graph.get(one, [])
    return seen


def _locked() -> dict[str, tuple[str, list[str]]]:
    """Version and hashes of every package that edgeq brings."""
    found: dict[str, tuple[str, list[str]]] = {}
    for lock in _LOCKS:
        hashes: list[str] = []
        for line in (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8").splitlines():
            entry = _ENTRY.match(line)
            if entry:
                hashes = []
                found[entry[1]] = (entry[2], hashes)
            hashes += _HASH.findall(line)
    return found


def _environment(made_at: str) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "cyclonedx_py", "environment", sys.executable,
        "--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library",
        "--output-reproducible", "--spec-version", "1.6",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env={**os.environ, "SOURCE_DATE_EPOCH": made_at},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    content: dict[str, Any] = json.loads(done.stdout)
    return content


if __name__ == "__main__":
    sys.stdout.write(bill(*sys.argv[1:3]))
