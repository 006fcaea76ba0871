"""Machines as data: one TOML file each, those that come with edgeq and those that users write.

Every figure says where it comes from, or that it was chosen, since a prediction is worth what its figures are worth.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeq.errors import ArtefactError, UnknownName
from edgeq.files import read_bytes
from edgeq.quant import CARRIER_RANGE
from edgeq.targets.emulator.numerics import Overflow, Products, Profile, Rounding
from edgeq.targets.emulator.speed import Costs, Figure, MacRate, Memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SUFFIX = ".toml"
_MAX_BYTES = 1 << 20
_WIDEST_SUM = 53  # bits in which float64 is exact
_WIDEST_OPERAND = 16
_Q31_SUM = 32  # bits of a sum that a 31-bit mantissa may meet
_WIDE_ROUNDINGS = ("half-even", "half-even-float32", "wide")


def names() -> tuple[str, ...]:
    """The machines that come with edgeq, sorted; opens none of their files."""
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in _machines().iterdir() if file.name.endswith(_SUFFIX)))


def profile_of(name: str) -> Profile:
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


def parse(content: bytes, name: str, origin: str) -> Profile:
    """A machine from the content of its file.

    Args:
        content: TOML.
        name: what it will be called.
        origin: where the content comes from, for messages.

    Raises:
        ArtefactError: no TOML, or a field that is unknown, missing or out of range.
    """
    try:
        tables = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtefactError(f"{origin} is no TOML file: {error}", mend="mend the line it names") from error
    reader = _Reader(origin, "", tables, ("summary", "arithmetic", "costs"))
    arithmetic = reader.table("arithmetic")
    costs = reader.table("costs") if "costs" in tables else None
    return _checked(_profile(name, reader.text("summary"), arithmetic, costs), arithmetic)


_ARITHMETIC = (
    *("rounding", "dense_rounding", "accumulator_bits", "overflow", "products", "carriers", "weight_bits", "activation_bits"),
    *("per_channel", "kernels", "binary", "beyond", "source"),
)
_COSTS = ("clock_mhz", "bytes_per_cycle", "outputs_per_cycle", "stored_bits", "memory", "macs_per_cycle")


def _profile(name: str, summary: str, arithmetic: _Reader, costs: _Reader | None) -> Profile:
    arithmetic.allow(_ARITHMETIC)
    rounding = arithmetic.word("rounding", Rounding)
    return Profile(
        name=name,
        summary=summary,
        rounding=rounding,
        dense_rounding=arithmetic.word("dense_rounding", Rounding, rounding),
        accumulator_bits=arithmetic.whole("accumulator_bits", 2, _WIDEST_SUM),
        overflow=arithmetic.word("overflow", Overflow),
        products=arithmetic.word("products", Products, "exact"),
        carriers=frozenset(arithmetic.words("carriers", CARRIER_RANGE)),
        weight_bits=arithmetic.span("weight_bits"),
        activation_bits=arithmetic.span("activation_bits"),
        per_channel=arithmetic.flag("per_channel", default=True),
        kernels=arithmetic.word("kernels", Literal["litert", "tflm"], "litert"),
        binary=arithmetic.flag("binary", default=False),
        beyond=arithmetic.word("beyond", Literal["refuse", "host"], "refuse"),
        source=arithmetic.text("source"),
        costs=None if costs is None else _costs(costs),
    )


def _costs(reader: _Reader) -> Costs:
    reader.allow(_COSTS)
    rates = [
        MacRate(rate.whole("weight_bits", 1, _WIDEST_OPERAND), rate.whole("activation_bits", 1, _WIDEST_OPERAND), rate.own_figure())
        for rate in reader.tables("macs_per_cycle")
    ]
    return Costs(
        clock_mhz=reader.figure("clock_mhz"),
        mac_rates=tuple(sorted(rates, key=lambda rate: rate.weight_bits * rate.activation_bits)),
        outputs_per_cycle=reader.figure("outputs_per_cycle"),
        bytes_per_cycle=reader.figure("bytes_per_cycle"),
        stored_bits=reader.whole("stored_bits", 1, _WIDEST_OPERAND),
        memory=reader.word("memory", Memory),
    )


def _checked(profile: Profile, reader: _Reader) -> Profile:
    """Refuse what no arithmetic can mean."""
    if profile.products == "pairs-int16":
        if profile.overflow != "wrap":
            raise reader.wrong("overflow", "pairs of products that saturate enter a sum that wraps", "write overflow = 'wrap'")
        if profile.carriers != {"uint8"} or profile.weight_bits[1] > 8 or profile.activation_bits[1] > 8:
            raise reader.wrong("products", "pairs are of uint8 activations and weights of at most 8 bits", "write carriers = ['uint8']")
    narrow = not profile.rounding.startswith("shift") and profile.rounding not in _WIDE_ROUNDINGS
    if profile.accumulator_bits > _Q31_SUM and narrow:
        raise reader.wrong("accumulator_bits", f"the rounding {profile.rounding!r} takes sums of at most 32 bits", "write 32 or less")
    return profile


class _Reader:
    """One table of a file; every refusal names the file, the table and the field."""

    def __init__(self, origin: str, table: str, content: Any, known: Iterable[str] = ()) -> None:
        self.origin, self.name, self.content = origin, table, content
        if not isinstance(content, dict):
            raise ArtefactError(f"{origin}: {table} is no table", mend=f"write [{table}] and its fields below it")
        if known:
            self.allow(known)

    def allow(self, known: Iterable[str]) -> None:
        """Refuse a field of another name."""
        for field in self.content:
            if field not in known:
                error = UnknownName("field", field, known)
                raise ArtefactError(f"{self.origin}: {self._called(field)} means nothing in a hardware profile", mend=error.mend)

    def wrong(self, field: str, why: str, mend: str) -> ArtefactError:
        """The error for a field."""
        return ArtefactError(f"{self.origin}: {self._called(field)}: {why}", mend=mend)

    def table(self, field: str) -> _Reader:
        """A table inside."""
        return _Reader(self.origin, self._called(field), self._get(field))

    def tables(self, field: str) -> list[_Reader]:
        """Tables inside, at least one."""
        found = self._get(field)
        if not isinstance(found, list) or not found:
            raise self.wrong(field, "it is no list of tables", f"write [[{self._called(field)}]] and the fields of one rate below it")
        return [_Reader(self.origin, self._called(field), each) for each in found]

    def text(self, field: str) -> str:
        """Words for people, not empty."""
        found = self._get(field)
        if not isinstance(found, str) or not found.strip():
            raise self.wrong(field, f"{found!r} says nothing", "write a line of text")
        return found

    def word(self, field: str, kind: Any, default: str | None = None) -> Any:
        """One of the words of a Literal."""
        found = self.content.get(field, default) if default is not None else self._get(field)
        if found not in get_args(kind):
            raise self.wrong(field, f"{found!r} is not known", f"use one of {', '.join(get_args(kind))}")
        return found

    def words(self, field: str, known: Mapping[str, object]) -> list[str]:
        """Some of the words known; none where the field is left out."""
        found = self.content.get(field, [])
        if not isinstance(found, list) or any(each not in known for each in found):
            raise self.wrong(field, f"{found!r} is not a list of types", f"choose from {', '.join(known)}")
        return found

    def whole(self, field: str, least: int, most: int) -> int:
        """A whole number within bounds."""
        return self._bounded(field, self._get(field), least, most)

    def span(self, field: str) -> tuple[int, int]:
        """The least and the greatest width of operands."""
        found = self.content.get(field, [1, _WIDEST_OPERAND])
        if not isinstance(found, list) or len(found) != 2:
            raise self.wrong(field, f"{found!r} is not a least and a greatest width", "write [1, 8], say")
        least, most = (self._bounded(field, each, 1, _WIDEST_OPERAND) for each in found)
        if least > most:
            raise self.wrong(field, f"no width lies between {least} and {most}", f"write [{most}, {least}]")
        return least, most

    def flag(self, field: str, *, default: bool) -> bool:
        """True or false."""
        found = self.content.get(field, default)
        if not isinstance(found, bool):
            raise self.wrong(field, f"{found!r} is neither true nor false", "write true or false")
        return found

    def figure(self, field: str) -> Figure:
        """A positive number with its source."""
        reader = self.table(field)
        reader.allow(("value", "source", "assumed"))
        return reader.own_figure()

    def own_figure(self) -> Figure:
        """The figure that this table itself is."""
        found = self._get("value")
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < float("inf"):
            raise self.wrong("value", f"{found!r} is no positive number", "write one, with its source")
        return Figure(float(found), self.text("source"), self.flag("assumed", default=False))

    def _bounded(self, field: str, found: object, least: int, most: int) -> int:
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise self.wrong(field, f"{found!r} is no whole number from {least} to {most}", "correct it there")
        return found

    def _get(self, field: str) -> Any:
        if field not in self.content:
            raise self.wrong(field, "it is missing", "every profile needs it; those that come with edgeq show how it is written")
        return self.content[field]

    def _called(self, field: str) -> str:
        return f"{self.name}.{field}" if self.name else field


def _machines() -> Any:
    return files("edgeq.targets.emulator") / "machines"


PROFILES: Mapping[str, Profile] = {name: profile_of(name) for name in names()}
"""The machines that come with edgeq, by name."""
