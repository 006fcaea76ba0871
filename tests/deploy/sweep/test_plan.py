"""What a sweep file may say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeq.deploy.sweep.plan import EarlyStop, Needs, Search, read_sweep
from edgeq.errors import ArtefactError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

SOUND = """
title = "Depth"
[grid]
network = ["resnet8", "resnet20"]
bits = 4
seed = [0, 1, 2]
[cell]
steps = ["train {network} --seed {seed} -o run", "export {here}/a.onnx -o b.tflite"]
cpus = 2
memory_gib = 0.5
resources = { board = 1 }
[figures]
bytes = "b.tflite"
accuracy = "run/result.json#/accuracy"
[report]
maximize = ["accuracy"]
[stop]
figure = "accuracy"
behind = 5.0
[search]
figure = "accuracy"
limits = { bytes = 1000 }
[[published]]
source = "a work, Table 1"
network = "resnet8"
accuracy = 91.5
"""


def test_all_that_it_can_say(tmp_path: Path) -> None:
    path = tmp_path / "depth.toml"
    path.write_text(SOUND)
    sweep = read_sweep(path)
    assert (sweep.title, sweep.repeat, sweep.repeats) == ("Depth", "seed", (0, 1, 2))
    assert list(sweep.configurations()) == [
        {"network": "resnet8", "bits": 4},
        {"network": "resnet20", "bits": 4},
    ]
    assert sweep.needs == Needs(2, 0.0, 0.5, {"board": 1})
    assert sweep.early_stop == EarlyStop("accuracy", 5.0)
    assert sweep.search == Search("accuracy", limits={"bytes": 1000})
    (published,) = sweep.published
    assert (published.where, published.figures) == ({"network": "resnet8"}, {"accuracy": 91.5})
    assert sweep.here == tmp_path


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("[grid]", "[gird]", "no key of a sweep is called 'gird'.*did you mean 'grid'"),
        ("bits = 4", "bits = []", "the values of bits"),
        ("bits = 4", "bits = [4, 4]", "stands twice"),
        ("bits = 4", "here = 4", "'here' cannot be a parameter"),
        ("{network} --seed", "{netwrok} --seed", "did you mean 'network'"),
        ("cpus = 2", "cpus = 0", "cpus is 0"),
        ("cpus = 2", "cups = 2", "did you mean 'cpus'"),
        ("board = 1", 'board = "x"', "the resource board"),
        ('[figures]\nbytes = "b.tflite"', "[figures]\nbytes = 3", "figure bytes is 3"),
        ("[cell]", '[cell]\nfunction = "a:b"', "in one way"),
        ("[report]\nmaximize", "[report]\nminimise", "did you mean 'minimize'"),
        ('maximize = ["accuracy"]', "", "whether more of it is better"),
        ("behind = 5.0", "", "lacks behind"),
        ("behind = 5.0", 'behind = "5"', "behind is '5'"),
        ("limits = { bytes = 1000 }", "trials = 0", "trials is 0"),
        ("accuracy = 91.5", "", "no figure"),
        ("title =", "repeat = 'x'\ntitle =", "no parameter of .grid. is called 'x'"),
        ("title =", "title", "no TOML file"),
    ],
)
def test_what_it_may_not_say(tmp_path: Path, was: str, now: str, message: str) -> None:
    assert was in SOUND
    path = tmp_path / "depth.toml"
    path.write_text(SOUND.replace(was, now, 1))
    with pytest.raises(UsageError, match=f"(?s){message}"):
        read_sweep(path)


def test_a_file_that_is_missing_or_lacks_a_table_says_which(tmp_path: Path) -> None:
    path = tmp_path / "depth.toml"
    with pytest.raises(ArtefactError, match="there is no sweep file at"):
        read_sweep(path)
    path.write_text("[cell]\nsteps = []\n")
    with pytest.raises(UsageError, match=r"depth.toml has no table \[grid\]") as refused:
        read_sweep(path)
    assert "seed = [0, 1, 2]" in refused.value.hint
    path.write_text("cell = 3\n[grid]\nseed = [0]\n")
    with pytest.raises(UsageError, match="cell is 3, which is no table"):
        read_sweep(path)
