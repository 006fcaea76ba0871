"""A table of files and what is known of each: CSV, JSON or JSON lines.

A column ``path`` names the file, below the table's folder; ``label`` is a class or, where it is no
whole number and no text, a value to be predicted; ``split`` is train, validation or test. Where a
file ``symbols.txt`` stands beside the table, ``text`` is what is said in each. All other columns
are kept, to look at some samples alone.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.user.assemble import PARTS, assemble, numbered, of_files
from edgeq.errors import ArtefactError
from edgeq.files import read_bytes
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data.source import DataSource

MAX_BYTES = 1 << 30
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
_PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "audio")
_LABELS = ("label", "class", "target", "category")
_TEXTS = ("text", "transcript", "sentence")
SYMBOLS_FILE = "symbols.txt"
MAX_SYMBOLS_BYTES = 1 << 20
_SPLITS = ("split", "set", "subset")
_EXAMPLE = """write it so; label, split and further columns may be left out:
    path,label,split,camera
    img/1.jpg,cat,train,left
    img/2.jpg,dog,test,right"""


def load_manifest(path: Path) -> DataSource:
    """The files that a table names.

    Raises:
        ArtefactError: no table, a column is missing or has gaps, or a file is broken.
    """
    columns = _columns(path)
    paths = _taken(columns, _PATHS)
    if paths is None:
        odd = ";" in "".join(columns)
        why = ": commas part columns, not semicolons" if odd else ""
        raise _wrong(path, f"has no column path; its columns are {', '.join(columns)}{why}")
    labels, splits = _taken(columns, _LABELS), _taken(columns, _SPLITS)
    symbols = _symbols(path.parent / SYMBOLS_FILE) if labels is None else []
    texts = _taken(columns, _TEXTS) if symbols else None
    target, classes = _targets(path, labels)
    others = {name: _typed(values) for name, values in columns.items()}
    files = [str(each) for each in paths]
    missing = [each for each in files if not (path.parent / each).is_file()]
    if missing:
        raise ArtefactError(
            f"{path} names {missing[0]}, and there is no such file in {path.parent}; "
            f"{counted(len(missing), 'file', 'are', of=len(files))} missing",
            hint=f"write paths as they are seen from {path.parent}, or whole ones",
        )
    said = None if texts is None else [str(each) for each in texts]
    whole = of_files(path.parent, files, target if said is None else said, others)
    parts = {"test": whole}
    if splits is not None:
        told = np.array([PARTS.get(str(each).lower(), "") for each in splits])
        if (told == "").any():
            raise _wrong(path, f"puts a file into {splits[int(np.argmax(told == ''))]!r}")
        parts = {part: whole.take(np.flatnonzero(told == part)) for part in np.unique(told)}
    if said is not None:
        return assemble(path.stem, parts, symbols, task="wer")
    regression = target is not None and target.dtype.kind == "f"
    source = assemble(path.stem, parts, classes, task="mae" if regression else "top1")
    numbers = bool(classes) and labels is not None and _typed(labels).dtype.kind != "U"
    return replace(source, order=path.name) if numbers else source


def _columns(path: Path) -> dict[str, list[Any]]:
    content = read_bytes(path, "table of files", limit=MAX_BYTES)
    try:
        text = content.decode("utf-8-sig")
        if path.suffix.lower() in (".csv", ".tsv"):
            comma = "\t" if path.suffix.lower() == ".tsv" else ","
            rows = csv.reader(io.StringIO(text), delimiter=comma, strict=True)
            return _by_column(path, next(rows, []), (row for row in rows if row))
        if path.suffix.lower() == ".jsonl":
            told: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            told = json.loads(text)
            told = told.get("samples") if isinstance(told, dict) else told
    except (ValueError, csv.Error, RecursionError) as error:
        raise _wrong(path, f"cannot be read: {error}") from error
    if not isinstance(told, list) or not told or not all(isinstance(row, dict) for row in told):
        raise _wrong(path, "holds no rows")
    names = list(told[0])
    return _by_column(path, names, (_in_order(path, names, row) for row in told))


def _by_column(path: Path, names: list[str], rows: Iterable[Sequence[Any]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise _wrong(path, f"has {len(row)} values in row {number}, and {len(names)} columns")
        for name, value in zip(names, row, strict=True):
            columns[name].append(value)
    if not names or not columns[names[0]]:
        raise _wrong(path, "holds no rows")
    return columns


def _in_order(path: Path, names: list[str], row: Mapping[str, Any]) -> list[Any]:
    missing = set(names).symmetric_difference(row)
    if missing:
        raise _wrong(path, f"has {min(missing)!r} in some rows only")
    return [row[name] for name in names]


def _symbols(path: Path) -> list[str]:
    """The symbols of texts in the order of a network's scores, a line each; none without a file."""
    if not path.is_file():
        return []
    content = read_bytes(path, "list of symbols", limit=MAX_SYMBOLS_BYTES)
    symbols = content.decode("utf-8", "replace").splitlines()
    if "" in symbols or len(set(symbols)) != len(symbols):
        what = "has an empty line" if "" in symbols else "names a symbol twice"
        raise ArtefactError(
            f"{path} {what}",
            hint="write a symbol a line, the blank one first, and a space as a space",
        )
    return symbols


def _taken(columns: dict[str, list[Any]], names: Sequence[str]) -> list[Any] | None:
    """The first of these columns, which is taken out."""
    by_name = {name.strip().lower(): name for name in columns}
    found = next((by_name[name] for name in names if name in by_name), None)
    return None if found is None else columns.pop(found)


def _targets(path: Path, labels: list[Any] | None) -> tuple[NDArray[Any] | None, list[str]]:
    if labels is None:
        return None, []
    empty = next((row for row, label in enumerate(labels, start=1) if label in ("", None)), None)
    if empty is not None:
        raise _wrong(path, f"has no label in row {empty}")
    typed = _typed(labels)
    if typed.dtype.kind == "f":
        if not np.isfinite(typed).all():
            raise _wrong(path, "has a label that is not finite")
        return typed.astype(np.float32), []
    if typed.dtype.kind == "U":
        return numbered([str(label) for label in labels])
    if int(typed.min()) < 0:
        raise _wrong(path, f"has the label {int(typed.min())}")
    return typed, [str(number) for number in range(int(typed.max()) + 1)]


def _typed(values: list[Any]) -> NDArray[Any]:
    """Whole numbers as int64, others as float64, text as it is."""
    for kind in (int, float):
        try:
            converted = [kind(value) for value in values]
        except (TypeError, ValueError):
            continue
        if kind is float or all(
            isinstance(value, str) or value == number
            for value, number in zip(values, converted, strict=True)
        ):
            return np.array(converted, np.int64 if kind is int else np.float64)
    return np.array([str(value) for value in values])


def _wrong(path: Path, what: str) -> ArtefactError:
    return ArtefactError(f"{path} {what}", hint=_EXAMPLE)
