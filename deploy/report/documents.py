"""What a page is made of: the JSON documents that commands print, read from files and folders."""

from __future__ import annotations

import json
import math
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict

from edgeq.errors import ArtefactError
from edgeq.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeq.plain import Json

MAX_BYTES = 200_000_000
DRAWINGS = "drawings.json"
"""What lies beside the document of a run: pictures of samples and graphs of files."""
_MANIFEST, _RESULT, _PREFIX = "manifest.json", "result.json", "edgeq."


@dataclass(frozen=True, slots=True)
class Document:
    """One answer of one command.

    Attributes:
        kind: the command: ``compare``, ``profile``.
        label: what to call it: the folder or file it was read from; empty for the one of a page.
        content: the document, as JSON holds it.
        created: when it was made, ISO 8601; empty where it is not known.
        command: the command line that makes it again; empty where it is not known.
        pictures: sample to its picture, as a ``data:`` address.
        titles: sample to its true class.
        answers: stage to what it answers to samples that changed.
        graphs: artefact to its operators, as :class:`edgeq.deploy.report.graphs.Node`.
        layers: of a calibration, in their order: ranges and distributions.
        inside: whether it lies in another document, which speaks for it.
    """

    kind: str
    label: str
    content: Mapping[str, Json]
    created: str = ""
    command: str = ""
    pictures: Mapping[int, str] = field(default_factory=dict)
    titles: Mapping[int, str] = field(default_factory=dict)
    answers: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    graphs: Mapping[str, Sequence[Mapping[str, Json]]] = field(default_factory=dict)
    layers: Sequence[Mapping[str, Json]] = ()
    inside: bool = False

    @property
    def main(self) -> Mapping[str, Json]:
        """The part that the command is about: ``comparison`` of ``compare``."""
        name = {"compare": "comparison", "demo": "report", "emulate": "emulation"}.get(
            self.kind, self.kind
        )
        return mapping(self.content.get(name)) or self.content

    @property
    def files(self) -> dict[str, str]:
        """The path of each file that it is about, by name; the name where no command tells it."""
        lists = [
            records(self.main.get(name))
            for name in ("stages", "profiles", "rows", "files", "findings")
        ]
        keys = ("artefact", "network", "file")
        names = {text(each.get(key)) for items in lists for each in items for key in keys}
        names |= {text(self.main.get("file"))}
        paths = _words(self.command) or _words(text(self.content.get("next")))
        return {
            name: next((each for each in paths if f"/{each}".endswith(f"/{name}")), name)
            for name in sorted(names - {""})
        }

    def titled(self, words: str) -> str:
        """The caption of something that it holds."""
        return f"{self.label}: {words}" if self.label else f"{words[:1].upper()}{words[1:]}"


def _words(command: str) -> list[str]:
    """The words of a command line, of which some are paths of files."""
    try:
        return [os.path.normpath(word) for word in shlex.split(command)]
    except ValueError:  # written by somebody else
        return []


def read(path: Path) -> list[Document]:
    """The documents of a JSON file, of a run's folder, or of all runs in a folder.

    Raises:
        ArtefactError: there is none, or it is no JSON of edgeq's.
    """
    if not path.is_dir():
        content = _json(path)
        created = text(content.get("created")) or _modified(path)
        made = document_of(content, path.stem, created=created)
        if made is None:
            raise ArtefactError(
                f"{path} is no result of edgeq's",
                hint="give what a command wrote with --json, or the folder of a run",
            )
        return [made]
    runs = [path] if (path / _MANIFEST).is_file() else _below(path)
    if not runs:
        raise ArtefactError(
            f"{path} holds no run", hint="--run DIR of edgeq compare and others keeps one"
        )
    return [document for run in runs for document in _run(run)]


def read_all(paths: Sequence[Path]) -> list[Document]:
    """The documents of several places, each with a label of its own.

    Raises:
        ArtefactError: as :func:`read`.
    """
    found = [(path, document) for path in paths for document in read(path)]
    places = [_place(path.absolute(), document.label) for path, document in found]
    labels = [document.label for _, document in found]
    return [
        document
        if labels.count(document.label) == 1
        else replace(document, label=_told_apart(place, places))
        for (_, document), place in zip(found, places, strict=True)
    ]


def _place(path: Path, label: str) -> Path:
    """Where a document of that label lies: at a path, or below it."""
    return path.with_name(label) if label in (path.name, path.stem) else path / label


def _told_apart(place: Path, places: Sequence[Path]) -> str:
    """The name of a place with as many folders before it as it takes; whole where none do."""
    parts = place.parts
    for length in range(2, len(parts)):
        if sum(other.parts[-length:] == parts[-length:] for other in places) == 1:
            return "/".join(parts[-length:])
    return str(place)


def _below(path: Path) -> list[Path]:
    return sorted(file.parent for file in path.glob(f"*/{_MANIFEST}"))


def _run(folder: Path) -> list[Document]:
    manifest = _json(folder / _MANIFEST)
    content = {"machine": manifest.get("machine"), **_json(folder / _RESULT)}
    made = document_of(
        content,
        folder.name,
        created=text(manifest.get("started")),
        command=shlex.join(["edgeq", *texts(manifest.get("arguments"))]),
        drawings=_json(folder / DRAWINGS) if (folder / DRAWINGS).is_file() else {},
    )
    if made is None:
        raise ArtefactError(f"{folder} is no run of edgeq's", hint="run the command again")
    return [made]


def document_of(
    content: Mapping[str, Json],
    label: str,
    *,
    created: str = "",
    command: str = "",
    drawings: Mapping[str, Json] | None = None,
) -> Document | None:
    """A document with what belongs to it; None for what is no result of a command.

    Args:
        content: as the command prints it.
        label: what to call it.
        created: when it was made.
        command: the command line.
        drawings: pictures of samples and graphs of files, which lie beside it.
    """
    kind = _kind(content)
    if kind in (None, "run", "error"):
        return None
    return Document(
        kind or "",
        label,
        content,
        created,
        command,
        **_drawn(drawings or {}),
    )


class _Drawn(TypedDict):
    """What lies beside a document, as :class:`Document` keeps it."""

    pictures: Mapping[int, str]
    titles: Mapping[int, str]
    answers: Mapping[str, Mapping[int, str]]
    graphs: Mapping[str, Sequence[Mapping[str, Json]]]
    layers: Sequence[Mapping[str, Json]]


def _drawn(beside: Mapping[str, Json]) -> _Drawn:
    return {
        "pictures": _by_sample(beside.get("pictures")),
        "titles": _by_sample(beside.get("titles")),
        "answers": {
            name: _by_sample(said) for name, said in mapping(beside.get("answers")).items()
        },
        "graphs": {name: records(nodes) for name, nodes in mapping(beside.get("graphs")).items()},
        "layers": records(beside.get("layers")),
    }


def _by_sample(value: Json) -> dict[int, str]:
    return {int(sample): text(said) for sample, said in mapping(value).items()}


def _kind(content: Mapping[str, Json]) -> str | None:
    schema = text(content.get("schema"))
    return schema.removeprefix(_PREFIX).partition("/")[0] if schema.startswith(_PREFIX) else None


def _json(path: Path) -> dict[str, Json]:
    try:
        content: Json = json.loads(read_bytes(path, "JSON file", limit=MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise ArtefactError(
            f"{path} is no JSON: {error}", hint="give what a command wrote with --json"
        ) from error
    return content if isinstance(content, dict) else {}


def _modified(path: Path) -> str:
    """What the file system says, for a page to show; empty where it is no date at all."""
    with suppress(OSError, OverflowError, ValueError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return ""


def mapping(value: Json) -> dict[str, Json]:
    """A JSON object, or an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def records(value: Json) -> list[dict[str, Json]]:
    """The objects of a JSON array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Json) -> str:
    """Text; empty for none."""
    return "" if value is None else value if isinstance(value, str) else str(value)


def texts(value: Json) -> list[str]:
    """The texts of a JSON array."""
    return [text(item) for item in value] if isinstance(value, list) else []


def number(value: Json) -> float:
    """A number; NaN for none, and for one that has no room in 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def whole(value: Json) -> int | None:
    """A whole number; None for none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def stage_name(record: Mapping[str, Json]) -> str:
    """``artefact @ target``."""
    return f"{text(record.get('artefact'))} @ {text(record.get('target'))}"


def figure(record: Mapping[str, Json]) -> tuple[float, float, float] | None:
    """Accuracy or score of a stage and its 95 % interval, in per cent where it is a share.

    The ends are the value itself where no interval is known; None where nothing is judged.
    """
    score = mapping(record.get("score"))
    if score:
        factor = 100.0 if score.get("percent", True) else 1.0
        value = factor * number(score.get("value"))
        ends = score.get("interval")
        low, high = (
            (factor * number(ends[0]), factor * number(ends[1]))
            if isinstance(ends, list) and len(ends) == 2
            else (value, value)
        )
        return None if math.isnan(value) else (value, low, high)
    accuracy = mapping(record.get("accuracy"))
    total = number(accuracy.get("total"))
    if not total > 0:
        return None
    return (
        100 * number(accuracy.get("correct")) / total,
        100 * number(accuracy.get("low")),
        100 * number(accuracy.get("high")),
    )


def figure_name(stages: Sequence[Mapping[str, Json]]) -> str:
    """What stages are judged by, with its unit."""
    for stage in stages:
        score = mapping(stage.get("score"))
        if score:
            unit = "%" if score.get("percent", True) else text(score.get("unit"))
            return f"{text(score.get('name'))} ({unit})" if unit else text(score.get("name"))
    return "accuracy (%)"


def parts(document: Document) -> list[Document]:
    """A document and those that lie in it: a demo holds comparisons and profiles."""
    if document.kind == "calibrate" and document.content.get("held_back"):
        return [document, replace(held_back(document), inside=True)]
    if document.kind != "demo":
        return [document]
    report = document.main
    found = [document]
    drawings = records(report.get("drawings"))
    comparisons = report.get("comparisons")
    for number, pair in enumerate(comparisons if isinstance(comparisons, list) else []):
        if isinstance(pair, list) and len(pair) == 2:
            part = Document(
                "compare",
                text(pair[0]),
                {"comparison": pair[1]},
                document.created,
                document.command,
                **_drawn(drawings[number] if number < len(drawings) else {}),
                inside=True,
            )
            found.append(part)
    if report.get("gate"):
        gate: dict[str, Json] = {"gate": report["gate"]}
        found.append(
            replace(document, kind="gate", label="planted fault", content=gate, inside=True)
        )
    if records(report.get("profiles")):
        content = {"profiles": report["profiles"], "machine": report.get("machine")}
        found.append(replace(document, kind="profile", content=content, inside=True))
    return found


def held_back(document: Document) -> Document:
    """The comparison of a float network and the calibrated one that a calibration holds."""
    comparison: dict[str, Json] = {"comparison": document.content.get("held_back")}
    return replace(document, kind="compare", content=comparison)


def of_kind(documents: Sequence[Document], *kinds: str) -> Iterator[Document]:
    """The documents of some commands, in their order."""
    return (document for document in documents if document.kind in kinds)
