"""A description of a device is believed only where it is whole, and every figure has a source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeq.device import parse, widths
from edgeq.errors import ArtefactError, UnknownName
from edgeq.target import TARGETS
from edgeq.targets.devices import devices, find, names

ROOT = Path(__file__).parents[2]
OURS = """
title = "Our camera"
format = "tflite"
target = ""
granularity = "per-tensor"
slower = 8.0
weight_bits = [8]
act_bits = [8, 16]
activation_dtype = "int8"

[[facts]]
about = ["granularity", "slower", "weight_bits", "act_bits", "activation_dtype"]
says = "9 and 72 ms"
source = "https://example.com/measured"
"""


@pytest.mark.parametrize("name", names())
def test_every_file_is_whole_and_its_measurements_are_pages(name: str) -> None:
    device = find(name)
    assert device.name == name
    for fact in device.facts:
        assert fact.about
        if fact.source.startswith("docs/"):
            assert (ROOT / fact.source).is_file()
        else:
            assert re.fullmatch(r"https://\S+\.\S+/\S+", fact.source)
    assert not device.target or device.target.partition(":")[0] in TARGETS.names()


def test_the_known_ones_are_there() -> None:
    per_tensor = {each.name for each in devices() if each.granularity == "per-tensor"}
    assert per_tensor == {"artpec-8", "stm32mp25", "vim3"}
    assert {each.name for each in devices() if each.pair_safe} == {"x86-avx2"}
    assert {"ethos-u55", "hexagon", "hailo-8", "cmsis-nn", "x86-vnni"} <= {*names()}


def test_an_unknown_one_is_refused_with_the_list() -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'stm32mp25'.*artpec-8"):
        find("stm32mp2")


def test_your_own_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "camera.toml"
    path.write_text(OURS)
    device = find(str(path))
    assert (device.name, device.slower, device.act_bits) == ("camera", 8.0, (8, 16))
    assert device.facts_about("slower")[0].says == "9 and 72 ms"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("slower = 8.0", "", "slower, with a source, is missing"),
        ('"slower", ', "", "slower, with a source, is missing"),
        ('"act_bits", ', "", "act_bits has no source"),
        ("weight_bits = [8]", "weight_bits = [4]", "weight_bits is (4,)"),
        ("[8, 16]", "[8, 32]", "act_bits is (8, 32)"),
        ('"per-tensor"', '"per-row"', "granularity is 'per-row'"),
        ('"tflite"', '"hef"', "format is 'hef'"),
        ("https://example.com/measured", "somebody", "a fact without a source"),
        ('about = ["granularity"', 'about = ["colour", "granularity"', "a fact about colour"),
        ('target = ""', "speed = 3", "cannot be read"),
        ('title = "Our camera"', "title = ", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, told: str) -> None:
    assert old in OURS
    with pytest.raises(ArtefactError) as refused:
        parse("camera", OURS.replace(old, new, 1))
    assert told in refused.value.what
    assert "'camera'" in refused.value.what


def test_widths_in_words() -> None:
    assert [widths(bits) for bits in ((8,), (8, 4), (16, 4, 8))] == ["8", "4 or 8", "4, 8 or 16"]
