"""Names as users give them to a flag that may be repeated: one by one, or several with commas.

Each counts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def one_by_one(kind: str, given: Sequence[str], known: Collection[str]) -> list[str]:
    """The names, in the order given.

    What follows a comma and is no name belongs to the name before it where that has a kind of its
    own, as in ``ethos-u55:256,Ethos_U55_Deep_Embedded,Sram_Only``.

    Args:
        kind: what they are names of, for messages.
        given: what stood behind each flag.
        known: the names; ``NAME:KIND`` counts as ``NAME``.

    Raises:
        UnknownName: one is not known; offers the nearest.
        UsageError: nothing is named.
    """
    names: list[str] = []
    for text in given:
        pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
        if not pieces:
            raise UsageError(
                f"a {kind} is asked for and not named",
                hint=f"name one of {', '.join(sorted(known))}",
            )
        for i, piece in enumerate(pieces):
            if i and _whole(piece) not in known and ":" in names[-1]:
                names[-1] += f",{piece}"
            else:
                names.append(piece)
    for name in names:
        if name not in known and _whole(name) not in known:
            raise UnknownName(kind, name, known)
    return list(dict.fromkeys(names))


def _whole(name: str) -> str:
    return name.partition(":")[0]


def targets(given: list[str] | None) -> list[str] | None:
    """The targets of ``--target``; None where none is named."""
    from edgeq.target import TARGETS

    return one_by_one("target", given, TARGETS.names()) if given else None


def dialects(given: list[str] | None) -> list[str] | None:
    """The targets of ``--for``, and runtimes of which only the dialect is known.

    None where none is named.
    """
    from edgeq.formats.dialect import DIALECTS
    from edgeq.target import TARGETS

    return one_by_one("target", given, {*TARGETS.names(), *DIALECTS}) if given else None


def formats(given: list[str] | None) -> list[str] | None:
    """The formats of ``--to``; None where none is named."""
    from edgeq.exporter import EXPORTERS

    return one_by_one("exporter", given, EXPORTERS.names()) if given else None


def tensors(given: list[str] | None) -> list[str] | None:
    """The tensors of ``--outputs``; None where none is named."""
    pieces = [piece.strip() for text in given or () for piece in text.split(",")]
    return [piece for piece in pieces if piece] or None
