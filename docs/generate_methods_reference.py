"""Writes docs/reference/methods.md from the catalogue of quantisers, so that it cannot be untrue.

Run it with ``make docs``; a test compares the page with what this module renders.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.training.quantizers.catalogue import Method

PAGE = Path(__file__).parent / "reference" / "methods.md"
HEAD = """# Methods

Written by `make docs` from the catalogue of quantisers; edit that, not this page.

Name them with `edgeq train --weight-method METHOD --activation-method METHOD`, or as `weights` and
`activations` in the table `[scheme]` of a recipe. The default, `auto`, is `learned-clip` for
normalised weights in front of a BatchNorm and for what cannot be negative. It is `max-abs` or
`tracked` for the rest.

A method for activations applies to what inner layers read, where it supports the sign and the width
of the tensor. All other stored tensors are `tracked`, or `min-max` with `--affine`.

The column *exported* says `exact` where the file holds the very numbers of training; tests check
each of these methods on ONNX Runtime and TFLite. The others train, evaluate and compare in PyTorch,
and export refuses them with the reason.
"""
TABLES = {
    "weights": "| method | bits | what it does | per channel | exported | source "
    "|\n|---|---|---|---|---|---|\n",
    "activations": "| method | bits | what it does | exported | source |\n|---|---|---|---|---|\n",
}


def render() -> str:
    """The whole page."""
    from edgeq.training.quantizers.catalogue import Role, methods

    roles: tuple[Role, ...] = ("weights", "activations")
    tables = [
        f"\n## For {role}\n\n{TABLES[role]}" + "".join(_row(method) for method in methods(role))
        for role in roles
    ]
    return HEAD + "".join(tables)


def _row(method: Method) -> str:
    what = method.summary + (f"; needs {method.needs}" if method.needs else "")
    signs = (
        ""
        if len(set(method.signs)) > 1
        else "; only where values can be negative"
        if True in method.signs
        else "; only where none is negative"
    )
    channels = [("yes" if method.per_channel else "no")] if method.role == "weights" else []
    cells = (f"`{method.name}`", _listed(method.widths), what + signs, *channels)
    return f"| {' | '.join([*cells, _exported(method), method.source])} |\n"


def _exported(method: Method) -> str:
    if not method.exact:
        return f"refused: {method.refusal}"
    beyond = set(method.widths) - set(method.exact)
    return (
        "exact"
        if not beyond
        else f"exact at {_listed(method.exact)}; else refused: {method.refusal}"
    )


def _listed(widths: tuple[int, ...]) -> str:
    from edgeq.network.checks import WIDE

    *narrow, last = widths
    if last == WIDE:
        return f"{_listed(tuple(narrow))}, {WIDE}"
    return str(widths[0]) if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
