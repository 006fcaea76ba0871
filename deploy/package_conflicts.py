"""Packages that do not go together in one environment: what happens, and which to take out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def package_conflicts(versions: Mapping[str, str]) -> tuple[str, ...]:
    """What is wrong with a set of installed packages, a sentence each.

    Args:
        versions: package name to version, numpy among them.
    """
    found = []
    if {"onnxruntime", "onnxruntime-gpu"} <= versions.keys():
        found.append(
            "onnxruntime and onnxruntime-gpu are both installed, and fill the same "
            "folder: which one runs is left to chance; "
            "hint: pip uninstall both, install onnxruntime, and edgeq targets setup ort-cuda"
        )
    if "tflite-runtime" in versions and _major(versions.get("numpy", "")) >= 2:
        found.append(
            f"tflite-runtime {versions['tflite-runtime']} was built for numpy 1 and fails "
            f"with numpy {versions['numpy']}; "
            "hint: pip install ai-edge-litert in its place, or give it an environment of its own"
        )
    return tuple(found)


def _major(version: str) -> int:
    first = version.partition(".")[0]
    return int(first) if first.isdigit() else 0
