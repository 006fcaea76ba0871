"""Exported files: which numbers were compared, what is not exact, and what a run of both found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import folded, several, table
from edgeq.deploy.report.documents import mapping, number, of_kind, records, text, texts, whole
from edgeq.deploy.report.markup import NOTHING, Markup, join
from edgeq.deploy.report.values import count, general, kilobytes, percent, steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

READ_BACK = (
    "file",
    "kB",
    "weights",
    "biases",
    "scales",
    "zero points",
    "different",
    "transposes",
)
"""The columns of what was read back, here and on terminals."""
NUMBERS = ("weights", "biases", "scales", "zero_points")


def section(documents: Sequence[Document]) -> Markup:
    """Each export."""
    return join(_export(document) for document in of_kind(documents, "export"))


def compared(file: Mapping[str, Json]) -> int:
    """How many numbers of a file were compared with the source's."""
    parity = mapping(file.get("parity"))
    return sum(whole(parity.get(name)) or 0 for name in NUMBERS)


def _export(document: Document) -> Markup:
    files = records(document.content.get("files"))
    inexact = [(file, one) for file in files for one in records(file.get("approximations"))]
    return several(
        _numbers(files) if files else NOTHING,
        table(
            "What is not exact",
            ("file", "tensor", "what was done", "error (LSB)"),
            [
                (
                    text(file.get("path")),
                    text(one.get("tensor")),
                    text(one.get("what")),
                    general(number(one.get("max_error_lsb"))),
                )
                for file, one in inexact
            ],
            words=3,
        )
        if inexact
        else NOTHING,
        *(_ends(file) for file in files if file.get("ends")),
        *(
            _verification(name, mapping(found))
            for name, found in mapping(document.content.get("verification")).items()
        ),
    )


def _numbers(files: Sequence[Mapping[str, Json]]) -> Markup:
    return table(
        "Numbers that were read back from the files and compared with the source's",
        (*READ_BACK, "MACs in float (%)"),
        [
            (
                text(file.get("path")),
                kilobytes(whole(file.get("size_bytes"))),
                *(count(whole(mapping(file.get("parity")).get(name))) for name in NUMBERS),
                str(len(texts(mapping(file.get("parity")).get("different")))),
                text(mapping(file.get("transposes")).get("count")),
                percent(number(mapping(file.get("in_float")).get("share")))
                if file.get("in_float")
                else "",
            )
            for file in files
        ],
    )


def _ends(file: Mapping[str, Json]) -> Markup:
    ends = records(file.get("ends"))
    return folded(
        f"Inputs and outputs of {text(file.get('path'))}",
        table(
            f"Inputs and outputs of {text(file.get('path'))}",
            ("name", "what", "shape", "axes"),
            [
                (
                    text(end.get("name")),
                    text(end.get("kind")),
                    " x ".join(texts(end.get("shape"))),
                    text(end.get("order")),
                )
                for end in ends
            ],
            words=4,
        ),
    )


def _verification(name: str, found: Mapping[str, Json]) -> Markup:
    """The tensors of a verified file, in the order of the graph."""
    tensors = records(found.get("tensors"))
    return table(
        f"{name}: equal integers in, on {count(whole(found.get('samples')))} samples of "
        f"{text(found.get('data'))}",
        ("tensor", "computed by", "off by LSB", "compared", "different", "worst LSB"),
        [
            (
                text(each.get("tensor")),
                text(each.get("operator")),
                steps(_lsb(each), whole(each.get("worst"))),
                count(whole(each.get("compared"))),
                count(whole(each.get("different"))),
                count(whole(each.get("worst"))),
            )
            for each in tensors
        ],
        words=3,
    )


def _lsb(tensor: Mapping[str, Json]) -> dict[int, int]:
    return {int(step): whole(n) or 0 for step, n in mapping(tensor.get("lsb")).items()}
