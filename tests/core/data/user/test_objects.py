"""Data that code of the user's own made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from edgeq.data import DataSource, load
from edgeq.data.user.objects import from_object
from edgeq.errors import SamplesReduced, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RNG = np.random.default_rng(0)


def made(what: Any) -> DataSource:
    return from_object(what, "mine", load)


class Table:
    """As much of a Hugging Face data set as is needed."""

    def __init__(self, classes: list[str] | None = None, **columns: list[Any]) -> None:
        self.columns = columns
        self.features = {name: SimpleNamespace() for name in columns}
        if classes is not None:
            self.features["label"] = SimpleNamespace(names=classes)

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.columns[key]
        return {name: values[key] for name, values in self.columns.items()}


def pictures(*sizes: int) -> list[Any]:
    return [Image.new("RGB", (size, size), (size, 0, 0)) for size in sizes]


def test_a_path_and_a_data_source(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 2), np.float32))
    source = made(tmp_path / "x.npy")
    assert source.shape == (2,)
    assert made(source) is source


@pytest.mark.parametrize(
    ("what", "shape", "labels", "task"),
    [
        (np.zeros((3, 5)), (5,), None, "top1"),
        ((np.zeros((3, 5)), np.array([0, 1, 1])), (5,), [0, 1, 1], "top1"),
        ((np.zeros((3, 5)), np.array([0.5, 1, 1])), (5,), [0.5, 1, 1], "mae"),
        (
            {"x": np.zeros((3, 4, 4), np.uint8), "labels": np.arange(3)},
            (1, 4, 4),
            [0, 1, 2],
            "top1",
        ),
        ((torch.zeros(3, 5), torch.tensor([2, 0, 1])), (5,), [2, 0, 1], "top1"),
        (TensorDataset(torch.zeros(3, 1, 4, 4), torch.arange(3)), (1, 4, 4), [0, 1, 2], "top1"),
        ([np.zeros(5, np.float32)] * 3, (5,), None, "top1"),
        ([{"image": torch.zeros(2), "label": n} for n in range(3)], (2,), [0, 1, 2], "top1"),
        ([{"signal": torch.zeros(2), "note": "a"}] * 3, (2,), None, "top1"),
        ([(torch.zeros(2), n / 2) for n in range(3)], (2,), [0, 0.5, 1], "mae"),
    ],
)
def test_one_set_is_for_the_test(what: Any, shape: Any, labels: Any, task: str) -> None:
    source = made(what)
    assert (len(source.train), len(source.test), source.shape) == (0, 3, shape)
    found = source.test.labels
    assert (source.task, found if found is None else list(found[:])) == (task, labels)


def test_parts_by_name_and_their_measured_normalisation() -> None:
    images = RNG.integers(0, 256, (20, 4, 4, 3), np.uint8)
    pair = (images, np.arange(20) % 2)
    source = made({"train": pair, "val": pair, "test": pair})
    assert [len(part) for part in (source.train, source.validation, source.test)] == [20, 20, 20]
    assert source.mean == pytest.approx(images.mean((0, 1, 2)) / 255)


def test_a_data_set_is_asked_again_and_kept_by_nobody() -> None:
    asked = []

    class Asked:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Any:
            asked.append(index)
            return pictures(4)[0], index % 2

    source = made(Asked())
    assert source.test.class_labels.tolist() == [0, 1, 0, 1]
    before = len(asked)
    assert source.test.images[1:3].shape == (2, 4, 4, 3)
    assert asked[before:] == [1, 2]


def test_columns_of_pictures_with_classes_and_more() -> None:
    table = Table(["cat", "dog"], image=pictures(4, 6, 8), label=[1, 0, 1], camera=["a", "b", "a"])
    source = made({"test": table})
    assert source.classes == ("cat", "dog")
    assert source.test.class_labels.tolist() == [1, 0, 1]
    assert source.test.columns["camera"].tolist() == ["a", "b", "a"]
    assert [image.shape for image in source.test.images[:]] == [(4, 4, 3), (6, 6, 3), (8, 8, 3)]


@pytest.mark.parametrize("kind", ["columns", "items"])
def test_pictures_of_several_modes_are_of_one_form(kind: str) -> None:
    colour = Image.fromarray(RNG.integers(0, 256, (4, 4, 3), np.uint8))
    images = [colour.convert("L"), colour, colour.convert("P"), colour.convert("CMYK")]
    wanted = [np.asarray(each.convert("RGB")) for each in images]
    what = Table(image=images, label=[0] * 4) if kind == "columns" else [(i, 0) for i in images]
    assert [each.tolist() for each in made(what).test.images[:]] == [w.tolist() for w in wanted]
    clear = Image.new("RGBA", (4, 4), (1, 2, 3, 4))
    what = Table(image=[clear] * 2, label=[0, 1]) if kind == "columns" else [(clear, 0)] * 3
    with pytest.warns(SamplesReduced, match="transparency"):
        assert made(what).test.images[1:][0][0, 0].tolist() == [1, 2, 3]


def test_the_only_column_beside_the_labels_holds_the_samples() -> None:
    source = made(Table(features=[[0.5, 1.5]] * 3, label=[1, 0, 1]))
    assert source.shape == (2,)
    assert source.test.class_labels.tolist() == [1, 0, 1]


def test_pictures_of_a_data_set_are_fed_as_those_of_a_folder_are() -> None:
    tensors = [(torch.from_numpy(RNG.integers(0, 256, (3, 4, 4)) / 255).float(), 0)] * 2
    for what in (Table(image=pictures(4, 6)), [(each, 0) for each in pictures(4, 4)], tensors):
        source = made({"train": what, "test": what})
        assert source.preprocessing.described() == "scale 1/255"
        assert len(source.test) == 2
    fed = source.preprocessing.apply({"": source.test.images[:1]})[""]
    assert np.allclose(fed[0], tensors[0][0], atol=1e-7)


def test_items_by_name_are_inputs_by_name_and_classes_are_those_of_the_set() -> None:
    class Named(list[Any]):
        classes = ("cat", "dog")

    items = [{"left": np.zeros(2, np.float32), "right": np.zeros(3, np.float32), "label": 1}] * 2
    source = made(Named(items))
    assert source.shapes == {"left": (2,), "right": (3,)}
    assert source.classes == ("cat", "dog")


def test_columns_of_sound() -> None:
    sounds = [{"array": np.zeros(n, np.float32), "sampling_rate": 8000} for n in (5, 7)]
    source = made(Table(audio=sounds))
    assert [sound.shape for sound in source.test.images[:]] == [(5,), (7,)]


def _changing() -> Any:
    calls = iter(range(100))

    class Changing(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            return np.zeros(3 if next(calls) < 5 else 4, np.float32)

    return Changing([0, 0, 0])


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda: 3, "is a int, which is no data"),
        (lambda: Table(words=["a"]), "has the columns words"),
        (lambda: [("text", 0)], "no numbers"),
        (lambda: [(np.array([np.nan]), 0)], "NaN or infinity"),
        (lambda: [(np.zeros(2), -1)], "has the label -1"),
        (lambda: [(np.zeros(2), "cat")], "has the label 'cat', no number"),
        (lambda: [(np.zeros(2), np.nan)], "NaN among them"),
        (lambda: [(np.zeros(2), 0, 1)], "has items of 3 parts"),
        (lambda: [{"note": "a"}], "has items of note"),
        (lambda: [*[{"x": np.zeros(2)}] * 2, {"y": np.zeros(2)}], "'x' in some items only"),
        (lambda: SimpleNamespace(dataset=[]), "no data\n.*dataset of a DataLoader"),
        (list, "is empty"),
        (lambda: [np.zeros((2, 3)), [np.zeros(4), np.zeros(4)]], "trains on samples of"),
    ],
)
def test_what_is_no_data_is_named(what: Callable[[], Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made(what())


def test_samples_that_change_by_chance_are_named() -> None:
    source = made(_changing())
    with pytest.raises(UsageError, match=r"sample 0 of the test part of mine is float32 of \(4,\)"):
        source.test.images[:]
