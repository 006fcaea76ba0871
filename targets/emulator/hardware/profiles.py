"""Machines as data: one TOML file each, those that come with edgeq and those that users write.

Every figure says where it comes from, or that it was chosen, since a prediction is worth what its
figures are worth.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeq.errors import ArtefactError, UnknownName
from edgeq.files import parse_toml, read_bytes
from edgeq.quant import STORAGE_RANGE
from edgeq.targets.emulator.hardware.machine import HardwareProfile, Overflow, Products, Rounding
from edgeq.targets.emulator.hardware.speed import Costs, MacRate, Memory
from edgeq.targets.emulator.hardware.tables import WIDEST_OPERAND, ProfileTable

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUFFIX = ".toml"
_MAX_BYTES = 1 << 20
_WIDEST_SUM = 53  # bits in which float64 is exact
_Q31_SUM = 32  # bits of a sum that a 31-bit mantissa may meet
_WIDE_ROUNDINGS = ("half-even", "half-even-float32", "wide")


def names() -> tuple[str, ...]:
    """The machines that come with edgeq, sorted; opens none of their files."""
    return tuple(
        sorted(
            file.name.removesuffix(_SUFFIX)
            for file in _machines().iterdir()
            if file.name.endswith(_SUFFIX)
        )
    )


def profile_of(name: str) -> HardwareProfile:
    """A machine by its name, or by the path of a file that ends with ``.toml``.

    Raises:
        UnknownName: no machine of that name comes with edgeq.
        ArtefactError: the user's file is missing or wrong; tells which field, and what it may be.
    """
    if name.endswith(_SUFFIX):
        path = Path(name)
        return parse(read_bytes(path, "hardware profile", limit=_MAX_BYTES), path.stem, str(path))
    if name not in names():
        raise UnknownName("hardware profile", name, (*names(), "a path that ends with .toml"))
    return parse((_machines() / f"{name}{_SUFFIX}").read_bytes(), name, name)


def parse(content: bytes, name: str, origin: str) -> HardwareProfile:
    """A machine from the content of its file.

    Args:
        content: TOML.
        name: what it will be called.
        origin: where the content comes from, for messages.

    Raises:
        ArtefactError: no TOML, or a field that is unknown, missing or out of range.
    """
    try:
        tables = parse_toml(content)
    except ValueError as error:
        raise ArtefactError(
            f"{origin} is no TOML file: {error}", hint="fix the line it names"
        ) from error
    reader = ProfileTable(origin, "", tables, ("summary", "arithmetic", "costs"))
    arithmetic = reader.table("arithmetic")
    costs = reader.table("costs") if "costs" in tables else None
    return _checked(_profile(name, reader.text("summary"), arithmetic, costs), arithmetic)


_ARITHMETIC = (
    *(
        "rounding",
        "dense_rounding",
        "accumulator_bits",
        "overflow",
        "products",
        "storage_dtypes",
        "weight_bits",
        "activation_bits",
    ),
    *("per_channel", "kernels", "binary", "on_unsupported_width", "source"),
)
_COSTS = (
    "clock_mhz",
    "bytes_per_cycle",
    "outputs_per_cycle",
    "stored_bits",
    "memory",
    "macs_per_cycle",
)


def _profile(
    name: str, summary: str, arithmetic: ProfileTable, costs: ProfileTable | None
) -> HardwareProfile:
    arithmetic.allow(_ARITHMETIC)
    rounding = arithmetic.word("rounding", Rounding)
    return HardwareProfile(
        name=name,
        summary=summary,
        rounding=rounding,
        dense_rounding=arithmetic.word("dense_rounding", Rounding, rounding),
        accumulator_bits=arithmetic.whole("accumulator_bits", 2, _WIDEST_SUM),
        overflow=arithmetic.word("overflow", Overflow),
        products=arithmetic.word("products", Products, "exact"),
        storage_dtypes=frozenset(arithmetic.words("storage_dtypes", STORAGE_RANGE)),
        weight_bits=arithmetic.span("weight_bits"),
        activation_bits=arithmetic.span("activation_bits"),
        per_channel=arithmetic.flag("per_channel", default=True),
        kernels=arithmetic.word("kernels", Literal["litert", "ort"], "litert"),
        binary=arithmetic.flag("binary", default=False),
        on_unsupported_width=arithmetic.word(
            "on_unsupported_width", Literal["refuse", "host"], "refuse"
        ),
        source=arithmetic.text("source"),
        costs=None if costs is None else _costs(costs),
    )


def _costs(reader: ProfileTable) -> Costs:
    reader.allow(_COSTS)
    rates = [
        MacRate(
            rate.whole("weight_bits", 1, WIDEST_OPERAND),
            rate.whole("activation_bits", 1, WIDEST_OPERAND),
            rate.own_figure(),
        )
        for rate in reader.tables("macs_per_cycle")
    ]
    return Costs(
        clock_mhz=reader.figure("clock_mhz"),
        mac_rates=tuple(sorted(rates, key=lambda rate: rate.weight_bits * rate.activation_bits)),
        outputs_per_cycle=reader.figure("outputs_per_cycle"),
        bytes_per_cycle=reader.figure("bytes_per_cycle"),
        stored_bits=reader.whole("stored_bits", 1, WIDEST_OPERAND),
        memory=reader.word("memory", Memory),
    )


def _checked(profile: HardwareProfile, reader: ProfileTable) -> HardwareProfile:
    """Refuse what no arithmetic can mean."""
    if profile.products == "pairs-int16":
        if profile.overflow != "wrap":
            raise reader.wrong(
                "overflow",
                "pairs of products that saturate enter a sum that wraps",
                "write overflow = 'wrap'",
            )
        if (
            profile.storage_dtypes != {"uint8"}
            or profile.weight_bits[1] > 8
            or profile.activation_bits[1] > 8
        ):
            raise reader.wrong(
                "products",
                "pairs are of uint8 activations and weights of at most 8 bits",
                "write storage_dtypes = ['uint8']",
            )
    narrow = not profile.rounding.startswith("shift") and profile.rounding not in _WIDE_ROUNDINGS
    if profile.accumulator_bits > _Q31_SUM and narrow:
        raise reader.wrong(
            "accumulator_bits",
            f"the rounding {profile.rounding!r} takes sums of at most 32 bits",
            "write 32 or less",
        )
    return profile


def _machines() -> Any:
    return files("edgeq.targets.emulator") / "hardware"


def described(profile: HardwareProfile) -> list[tuple[str, str]]:
    """A machine in words, every figure with its source."""
    least = [
        f"{low} to {high} bits" for low, high in (profile.weight_bits, profile.activation_bits)
    ]
    dense = (
        ""
        if profile.rounding == profile.dense_rounding
        else f"; fully connected layers {profile.dense_rounding}"
    )
    rows = [
        ("rounds", profile.rounding + dense),
        (
            "adds up in",
            (
                f"{profile.accumulator_bits} bits, which {profile.overflow}; products "
                f"{profile.products}"
            ),
        ),
        ("weights of", least[0]),
        ("activations of", least[1]),
        (
            "wider ones",
            "the host computes" if profile.on_unsupported_width == "host" else "are refused",
        ),
        ("according to", profile.source),
    ]
    return rows if profile.costs is None else [*rows, *_speed(profile.costs)]


def _speed(costs: Costs) -> list[tuple[str, str]]:
    figures = [
        ("clock, MHz", costs.clock_mhz),
        ("bytes a cycle", costs.bytes_per_cycle),
        ("outputs a cycle", costs.outputs_per_cycle),
        *(
            (
                f"MACs a cycle, {rate.weight_bits} by {rate.activation_bits} bits",
                rate.macs_per_cycle,
            )
            for rate in costs.mac_rates
        ),
    ]
    return [
        (name, f"{figure.value:g}: {'assumed: ' if figure.assumed else ''}{figure.source}")
        for name, figure in figures
    ]


PROFILES: Mapping[str, HardwareProfile] = {name: profile_of(name) for name in names()}
"""The machines that come with edgeq, by name."""
