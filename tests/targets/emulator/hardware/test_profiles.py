"""Machines as data.

Those that come along, those that users write, and every way of writing them wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeq.errors import ArtefactError, UnknownName
from edgeq.targets.emulator.hardware.profiles import PROFILES, described, names, parse, profile_of
from edgeq.targets.emulator.hardware.speed import SourcedFigure

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.targets.emulator.hardware.speed import Costs

OWN = """
summary = "a machine of mine"

[arithmetic]
rounding = "single"
accumulator_bits = 24
overflow = "saturate"
weight_bits = [2, 8]
source = "its manual"

[costs]
stored_bits = 8
memory = "sram-8KiB"
clock_mhz = { value = 100, source = "its datasheet" }
bytes_per_cycle = { value = 4, source = "its datasheet" }
outputs_per_cycle = { value = 0.5, source = "a guess", assumed = true }

[[costs.macs_per_cycle]]
weight_bits = 8
activation_bits = 8
value = 4
source = "its datasheet"
"""


def figures(costs: Costs) -> list[SourcedFigure]:
    return [
        costs.clock_mhz,
        costs.bytes_per_cycle,
        costs.outputs_per_cycle,
        *(rate.macs_per_cycle for rate in costs.mac_rates),
    ]


def test_the_machines_of_the_issue_are_there() -> None:
    expected = {
        "onnx-reference",
        "tflite-reference",
        "tflm",
        "avx2",
        "cmsis-nn-m4",
        "cmsis-nn-m55",
        "dsp-po2",
        "accel-4bit",
    }
    assert set(names()) == set(PROFILES) == expected


@pytest.mark.parametrize("name", names())
def test_every_figure_of_a_machine_has_a_source(name: str) -> None:
    profile = profile_of(name)
    assert profile.name == name
    assert len(profile.source) > 20
    for figure in [] if profile.costs is None else figures(profile.costs):
        assert figure.value > 0
        assert figure.assumed or len(figure.source) > 20
    assert PROFILES[name] == profile


def test_what_is_imagined_is_marked() -> None:
    costs = profile_of("accel-4bit").costs
    assert costs is not None
    assert all(figure.assumed for figure in figures(costs))


def test_users_write_their_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(OWN)
    profile = profile_of(str(file))
    assert (profile.name, profile.summary, profile.accumulator_bits, profile.overflow) == (
        "mine",
        "a machine of mine",
        24,
        "saturate",
    )
    assert (
        profile.rounding,
        profile.dense_rounding,
        profile.weight_bits,
        profile.activation_bits,
    ) == ("single", "single", (2, 8), (1, 16))
    assert profile.costs is not None
    assert profile.costs.outputs_per_cycle == SourcedFigure(0.5, "a guess", assumed=True)


def test_a_machine_without_costs_is_a_machine() -> None:
    assert parse(OWN[: OWN.index("[costs]")].encode(), "mine", "mine.toml").costs is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'rounding = "single"',
            'rounding = "upwards"',
            r"arithmetic\.rounding: 'upwards' is not known",
        ),
        ('rounding = "single"', "rounding = 3", r"arithmetic\.rounding: 3 is not known"),
        ('rounding = "single"\n', "", r"arithmetic\.rounding: it is missing"),
        (
            "accumulator_bits = 24",
            "accumulator_bits = 1",
            r"accumulator_bits: 1 is no whole number from 2 to 53",
        ),
        (
            "accumulator_bits = 24",
            "accumulator_bits = 2.5",
            r"accumulator_bits: 2.5 is no whole number",
        ),
        (
            "accumulator_bits = 24",
            "accumulator_bits = true",
            r"accumulator_bits: True is no whole number",
        ),
        (
            "accumulator_bits = 24",
            "accumulator_bits = 40",
            r"the rounding 'single' takes sums of at most 32 bits",
        ),
        ('overflow = "saturate"', 'overflow = "trap"', r"use one of wrap, saturate"),
        (
            'overflow = "saturate"',
            'overflow = "saturate"\nproducts = "pairs-int16"',
            r"enter a sum that wraps",
        ),
        (
            'overflow = "saturate"',
            'overflow = "wrap"\nproducts = "pairs-int16"',
            r"pairs are of uint8 activations",
        ),
        (
            'overflow = "saturate"',
            'overflow = "saturate"\nover_flow = "wrap"',
            r"arithmetic\.over_flow means nothing",
        ),
        (
            'overflow = "saturate"',
            'overflow = "saturate"\nstorage_dtypes = ["int7"]',
            r"\['int7'\] is not a list of types",
        ),
        (
            'overflow = "saturate"',
            'overflow = "saturate"\nbinary = 1',
            r"arithmetic\.binary: 1 is neither true nor false",
        ),
        ("weight_bits = [2, 8]", "weight_bits = [8, 2]", r"no width lies between 8 and 2"),
        ("weight_bits = [2, 8]", "weight_bits = 8", r"8 is not a min and a max width"),
        ("weight_bits = [2, 8]", "weight_bits = [0, 8]", r"0 is no whole number from 1 to 16"),
        ('source = "its manual"', 'source = ""', r"arithmetic\.source: '' says nothing"),
        (
            "clock_mhz = { value = 100,",
            "clock_mhz = { value = -1,",
            r"costs\.clock_mhz\.value: -1 is no positive number",
        ),
        ("clock_mhz = { value = 100,", "clock_mhz = { value = nan,", r"nan is no positive number"),
        ("clock_mhz = { value = 100,", "clock_mhz = { value = inf,", r"inf is no positive number"),
        (
            'value = 100, source = "its datasheet"',
            "value = 100",
            r"costs\.clock_mhz\.source: it is missing",
        ),
        (
            'clock_mhz = { value = 100, source = "its datasheet" }',
            "clock_mhz = 100",
            r"costs\.clock_mhz is no table",
        ),
        ('memory = "sram-8KiB"', 'memory = "tape"', r"use one of sram-8KiB"),
        (
            "[[costs.macs_per_cycle]]",
            "[costs.macs_per_cycle]",
            r"costs\.macs_per_cycle: it is no list of tables",
        ),
        ("[arithmetic]", "[aritmetic]", r"did you mean 'arithmetic'"),
        ("[arithmetic]", "[arithmetic", r"is no TOML file"),
        ('summary = "a machine of mine"', "", r"summary: it is missing"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in OWN
    file = tmp_path / "mine.toml"
    file.write_text(OWN.replace(old, new))
    with pytest.raises(ArtefactError, match=says) as found:
        profile_of(str(file))
    assert str(file) in str(found.value)


def test_a_name_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'cmsis-nn-m4'"):
        profile_of("cmsis-m4")


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ArtefactError, match="there is no hardware profile at"):
        profile_of("nowhere/mine.toml")


def test_a_file_of_bytes_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtefactError, match="is no TOML file"):
        profile_of(str(tmp_path / "mine.toml"))


def test_a_machine_is_told_with_the_source_of_every_figure() -> None:
    told = dict(described(profile_of("accel-4bit")))
    assert told["adds up in"] == "16 bits, which saturate; products exact"
    assert told["wider ones"] == "the host computes"
    assert told["clock, MHz"] == "500: assumed: chosen"
    assert told["MACs a cycle, 4 by 4 bits"].startswith("256: assumed: ")
    assert (
        dict(described(profile_of("tflite-reference")))["rounds"]
        == "double; fully connected layers single-half-away"
    )
