"""Documents of the commands that make something: calibrate, export, train, search and sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.report.documents import accuracy, comparison, made

if TYPE_CHECKING:
    from edgeq.deploy.report.documents import Document

LAYERS = ("stem.conv", "stage.0.conv1", "head")
PRECISIONS = {"weight_bits": 4, "act_bits": 8, "channel_bits": []}


def makers() -> list[Document]:
    """One of each."""
    return [
        calibrated(),
        made("export", "files", {"files": [exported("onnx", 0), exported("tflite", 2)]}),
        trained(),
        made("check", "check", {"targets": [checked("ort-cpu", exact=True), checked("tflite")]}),
        searched(),
        swept(),
    ]


def calibrated() -> Document:
    """A calibration of three layers, of which two are drawn."""
    costs = [
        {
            "layer": name,
            "op_type": "Conv",
            "tensor": "" if n == 2 else f"{name}.out",
            "sqnr_db": 30.0 + n,
            "weight_sqnr_db": 40.0,
            "activation_sqnr_db": None,
            "clipped": 0.25,
            "saturated": 0.5,
            "dead": 1,
            "channels": 200,
            "reason": "clipping: a quarter is beyond the grid",
        }
        for n, name in enumerate(LAYERS)
    ]
    content = {
        "path": "made.onnx",
        "size_bytes": 100_000,
        "data": "digits",
        "samples": 32,
        "scheme": "8W/8A",
        "observer": "minmax",
        "weight_method": "symmetric",
        "methods": ["equalize"],
        "held_back": comparison(2),
        "layers": costs,
        "told": ["equalize: 3 pairs", "warning: the layer 'head' answers the same\n  hint: look"],
        "next": "edgeq export made.onnx -o exported",
    }
    drawn = [drawn_layer(name, whole=n < 2) for n, name in enumerate(LAYERS)]
    return made("calibrate", "cal", content, command="edgeq calibrate f.onnx", layers=drawn)


def drawn_layer(name: str, *, whole: bool) -> dict[str, Any]:
    """What is drawn of a layer."""
    found: dict[str, Any] = {
        "layer": name,
        "average_precision": {"in the file": 0.2, "folded": 0.4, "activations": 0.7},
    }
    if whole:
        found |= {
            "channels": 200,
            "weights": {"in the file": [[-1.0, 2.0], [0.0, 1.0]], "stored": [[-1.0, 2.0]] * 2},
            "weight_values": {"edges": [-1.0, 0.0, 1.0], "counts": {"float": [3, 0]}},
            "results": [[0.0, 4.0], [0.0, 5.0]],
            "result_channels": 2,
            "result_values": {"edges": [0.0, 1.0, 2.0], "counts": {"float": [7, 1]}},
            "grid": [0.0, 1.5],
        }
    return found


def exported(name: str, inexact: int) -> dict[str, Any]:
    """One exported file."""
    return {
        "format": name,
        "path": f"out/net.{name}",
        "size_bytes": 90_000,
        "parity": {"weights": 5904, "biases": 26, "scales": 57, "zero_points": 57, "different": []},
        "approximations": [
            {"tensor": f"t{n}", "what": "the nearest multiplier", "max_error_lsb": 0.25}
            for n in range(inexact)
        ],
        "transposes": {"count": 1, "size_bytes": 600},
        "in_float": None,
        "ends": [{"kind": "input", "name": "x", "shape": [1, 8, 8, 1], "order": "NHWC"}],
    }


def trained() -> Document:
    """A training of four epochs."""
    history = [
        {"epoch": n, "loss": 1.0 / (n + 1), "accuracy": 0.2 * n, "validation": 0.2 * n}
        for n in range(4)
    ]
    content = {
        "folder": "runs/net",
        "recipe": {"name": "resnet8 4W/8A", "model": "resnet8", "data": "digits"},
        "best_epoch": 2,
        "validation": 0.6,
        "test": accuracy(1900),
        "seconds": 12.0,
        "history": history,
    }
    return made("train", "train", content)


def checked(target: str, *, exact: bool = False) -> dict[str, Any]:
    """What a target makes of a scheme."""
    finding = {
        "kind": "weights",
        "requirement": "4 bits",
        "count": 3,
        "stored": "int8",
        "verdict": "exact" if exact else "rounded",
        "runs": "integers",
        "why": "" if exact else "it has no 4 bits",
        "hint": "" if exact else "use 8",
    }
    return {"target": target, "exact": exact, "usable": True, "why_not": "", "findings": [finding]}


def searched() -> Document:
    """A search that chose the second of two trials."""
    trials = [
        {
            "number": n,
            "precisions": dict.fromkeys(LAYERS, PRECISIONS),
            "figures": {"score": 97.0 - n, "sqnr_db": None, "cost": 1000.0 - 300 * n},
            "kept": True,
        }
        for n in range(2)
    ]
    content = {
        "cost": "size",
        "limit": "at most 0.5 lost",
        "best": trials[1],
        "trials": trials,
        "pareto": [0, 1],
        "scheme": "[scheme]\nweight_bits = 8\n",
        "sensitivities": [
            {"layer": name, "precision": "w4a8", "sqnr_db": 20.0, "score": 90.0, "drop": 1.0 + n}
            for n, name in enumerate(LAYERS)
        ],
        "layers": [{"name": name, "kind": "Conv", "weights": 10, "macs": 20} for name in LAYERS],
        "max_drop": 0.5,
        "unseen_loss": 0.8,
    }
    return made("search", "search", content)


def swept() -> Document:
    """A sweep of two cells, one of which failed."""
    row = {
        "parameters": {"bits": 4},
        "figures": {
            name: {"mean": 0.9, "half_width": None, "repeats": 1} for name in ("accuracy", "rmse/1")
        },
        "published": {"Somebody, Table 1": {"accuracy": 0.91}},
        "best": True,
        "seconds": 3.0,
    }
    result = {
        "rows": [row],
        "cells": 2,
        "computed": 1,
        "missing": 1,
        "failures": [[{"bits": 2}, "ArtefactError: no file"]],
        "stopped": [],
        "chosen": None,
        "decisions": [
            {
                "claim": "2 bits are worse",
                "verdict": "not decided",
                "pairs": 3,
                "as_claimed": 2,
                "mean": 1.5,
                "low": 0.5,
                "high": 4.5,
                "chance": 0.25,
                "ratio": True,
            }
        ],
    }
    return made("sweep", "sweep", {"folder": "sweeps/a", "title": "Bits", "result": result})
