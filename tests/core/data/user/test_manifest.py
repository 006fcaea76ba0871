"""Tables of files: CSV, JSON and JSON lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from edgeq.data import load
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    {"path": "a.png", "label": "dog", "split": "train", "camera": "left", "hour": 7},
    {"path": "b.png", "label": "cat", "split": "test", "camera": "right", "hour": 8},
    {"path": "c.png", "label": "dog", "split": "test", "camera": "left", "hour": 9},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for row in ROWS:
        Image.new("RGB", (4, 4)).save(tmp_path / str(row["path"]))
    return tmp_path


def written(folder: Path, kind: str) -> Path:
    path = folder / f"table.{kind}"
    if kind in ("csv", "tsv"):
        comma = "," if kind == "csv" else "\t"
        lines = [comma.join(ROWS[0]), *(comma.join(map(str, row.values())) for row in ROWS)]
        path.write_text("\n".join(lines))
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    else:
        path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl"])
def test_labels_parts_and_columns(folder: Path, kind: str) -> None:
    source = load(str(written(folder, kind)))
    assert (source.classes, source.order) == (("cat", "dog"), "")
    assert (len(source.train), len(source.test)) == (1, 2)
    assert source.test.class_labels.tolist() == [0, 1]
    assert list(source.test.names) == ["b.png", "c.png"]
    assert source.test.columns["camera"].tolist() == ["right", "left"]
    assert source.test.columns["hour"].tolist() == [8, 9]
    assert len(source.test.images[:]) == 2


def test_a_table_in_a_folder_is_found(folder: Path) -> None:
    written(folder, "csv").rename(folder / "manifest.csv")
    assert len(load(str(folder)).test) == 2


@pytest.mark.parametrize(
    ("text", "task", "labels"),
    [
        ("path,label\na.png,2\nb.png,0\n", "top1", [2, 0]),
        ("path,label\na.png,2.5\nb.png,0\n", "mae", [2.5, 0]),
        ("path\na.png\nb.png\n", "top1", None),
    ],
)
def test_classes_values_or_nothing(
    folder: Path, text: str, task: str, labels: list[float] | None
) -> None:
    (folder / "t.csv").write_text(text)
    source = load(str(folder / "t.csv"))
    found = source.test.labels
    assert (source.task, found if found is None else list(found[:])) == (task, labels)
    assert source.order == ("t.csv" if labels and task == "top1" else "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,label\na,b\n", "has no column path; its columns are name, label"),
        ("path,label\na.png,-1\n", "has the label -1"),
        ("path,label\na.png\n", "has 1 values in row 1, and 2 columns"),
        ("path,split\na.png,somewhere\n", "puts a file into 'somewhere'"),
        ("path;label\na.png;1\n", "commas part columns, not semicolons"),
        ("path,label\na.png,\n", "has no label in row 1"),
        ("path\n", "holds no rows"),
        ("\n", "holds no rows"),
    ],
)
def test_a_wrong_table_is_answered_with_a_right_one(folder: Path, text: str, said: str) -> None:
    (folder / "t.csv").write_text(text)
    with pytest.raises(ArtefactError, match=said) as refused:
        load(str(folder / "t.csv"))
    assert "path,label,split,camera\n" in refused.value.hint


@pytest.mark.parametrize("text", ["{}", "[1]", "[", '[{"path": "a.png"}, {"label": 1}]'])
def test_json_that_is_no_table(folder: Path, text: str) -> None:
    (folder / "t.json").write_text(text)
    with pytest.raises(ArtefactError):
        load(str(folder / "t.json"))


def test_files_that_are_missing_are_counted(folder: Path) -> None:
    (folder / "t.csv").write_text("path,label\na.png,1\nnowhere.png,2\n")
    with pytest.raises(ArtefactError, match=r"names nowhere.png, .*; 1 of 2 files is missing"):
        load(str(folder / "t.csv"))


def test_images_of_a_part_are_fed_as_those_of_a_folder_are(folder: Path) -> None:
    assert load(str(written(folder, "csv"))).preprocessing.described() == "scale 1/255"


def test_texts_with_their_symbols_are_judged_by_words(tmp_path: Path) -> None:
    for number in range(2):
        Image.new("L", (2, 2)).save(tmp_path / f"{number}.png")
    (tmp_path / "table.csv").write_text("path,text\n0.png,go on\n1.png,stop\n")
    assert load(str(tmp_path / "table.csv")).test.labels is None
    (tmp_path / "symbols.txt").write_text("<blank>\n \na\nb\n")
    source = load(str(tmp_path / "table.csv"))
    assert (source.task, source.classes) == ("wer", ("<blank>", " ", "a", "b"))
    labels = source.test.labels
    assert labels is not None
    assert list(labels[:2]) == ["go on", "stop"]
    (tmp_path / "symbols.txt").write_text("a\n\nb\n")
    with pytest.raises(ArtefactError, match="has an empty line"):
        load(str(tmp_path / "table.csv"))
