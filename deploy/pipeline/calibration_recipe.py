"""What decides a calibration, as a TOML file, and as a calibrated file notes it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from edgeq.calibration.config import CHOOSING, CalibrationConfig
from edgeq.errors import ArtefactError, UsageError
from edgeq.formats.artefact import detect
from edgeq.network.checks import as_tuples, check_count, check_flag, check_text, read_toml
from edgeq.network.layer_rules import LayerRule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOTE = "calibration_recipe"
"""Where a calibrated file notes its recipe, as JSON."""
SAMPLES = 500
_WIDTHS = ("weight_bits", "act_bits", "boundary_bits", "depthwise_bits", "layers")


@dataclass(frozen=True, slots=True)
class CalibrationRecipe:
    """How a network is calibrated, whatever the network and the data.

    Attributes:
        config: how ranges are found and weights become integers.
        samples: how many samples are used, at most.
        by_width: whether the width of the weights chose how, as nothing else was asked for.
    """

    config: CalibrationConfig
    samples: int = SAMPLES
    by_width: bool = field(default=False, compare=False)

    @classmethod
    def said(cls, path: Path | None, **said: Any) -> CalibrationRecipe:
        """What a person says, perhaps beside a recipe; None says nothing.

        Args:
            path: a TOML file, or the file that a calibration wrote; None for no recipe.
            said: fields, which take precedence.

        Raises:
            ArtefactError: the file is missing, broken, or notes no recipe.
            UsageError: a field is unknown, of another type, or out of range.
        """
        content = {} if path is None else _content(path)
        return cls.from_dict(content, **said)

    @classmethod
    def read(cls, path: Path) -> CalibrationRecipe:
        """A recipe from a file; see :meth:`said`."""
        return cls.said(path)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], **said: Any) -> CalibrationRecipe:
        """The inverse of :meth:`to_dict`; what is left out is as by default.

        Args:
            content: the fields.
            said: what a person says beside them; see :meth:`said`.

        Raises:
            UsageError: a field is unknown, of another type, or out of range.
        """
        known = [*(each.name for each in fields(CalibrationConfig)), "samples"]
        content = _with_scheme(content)
        if unknown := sorted(set(content) - set(known)):
            raise UsageError(
                f"a recipe of calibration has no field {', '.join(unknown)}",
                hint=f"use {', '.join(known)}",
            )
        values = dict(content)
        samples = values.pop("samples", SAMPLES)
        check_count("samples", samples, 1)
        for name in ("observer", "weight_method"):
            if name in values:
                check_text(name, values[name])
        for name in ("per_channel", "pair_safe"):
            if name in values:
                check_flag(name, values[name])
        if "method_samples" in values:
            check_count("method_samples", values["method_samples"], 1)
        for name in ("methods", "layers"):
            if not isinstance(values.get(name, []), list):
                raise UsageError(f"{name} is {values[name]!r}", hint="give a list in brackets")
        for method in values.get("methods", []):
            check_text("methods", method)
        values["layers"] = [LayerRule.from_dict(rule) for rule in values.get("layers", [])]
        asked = as_tuples(values) | {name: each for name, each in said.items() if each is not None}
        samples = asked.pop("samples", samples)
        config = CalibrationConfig(**asked)
        return cls(config, samples, config.weight_bits < 8 and not asked.keys() & set(CHOOSING))

    def few_bits(self) -> str:
        """What the width of the weights chose, in words; empty where it chose nothing."""
        if not self.by_width:
            return ""
        bits = self.config.weight_bits
        return (
            f"weights of {bits} bits: --observer {self.config.found_by} "
            f"{' '.join(self.by_width_flags())}, as nothing else is asked for; "
            "--weight-method symmetric rounds to nearest instead\n"
            "each is stored in a byte, so the file stays as large as with 8 bits"
            f"{'; edgeq export --weight-storage int4 stores two a byte' if bits <= 4 else ''}"
        )

    def by_width_flags(self) -> tuple[str, ...]:
        """How the width of the weights chose to round them, as flags; none where it did not."""
        if not self.by_width:
            return ()
        methods = [part for name in self.config.methods for part in ("--method", name)]
        depthwise = ("--depthwise-bits", str(self.config.depthwise_bits))
        return ("--weight-method", self.config.weight_method, *methods, *depthwise)

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON; an observer of one's own by its name."""
        content = asdict(self.config) | {"observer": self.config.found_by}
        if self.config.depthwise_bits is None:  # TOML has no word for it
            del content["depthwise_bits"]
        rules = [{"match": rule.match, **rule.changes()} for rule in self.config.layers]
        return {**content, "layers": rules, "samples": self.samples}

    def without_widths(self) -> dict[str, Any]:
        """How ranges are found and weights quantised, whatever the widths of layers."""
        return {name: each for name, each in self.to_dict().items() if name not in _WIDTHS}

    def to_toml(self) -> str:
        """The recipe as a file that :meth:`read` takes."""
        content = self.to_dict()
        rules = content.pop("layers")
        tables = [("", content), *(("[[layers]]", rule) for rule in rules)]
        return "\n".join(
            "\n".join([*([head] if head else []), *map(_line, table, table.values()), ""])
            for head, table in tables
        )


def _content(path: Path) -> Mapping[str, Any]:
    """The fields of a recipe in a file; raises as :meth:`CalibrationRecipe.said`."""
    if path.suffix == ".toml":
        return read_toml(path)
    if detect(path) != "onnx":
        raise ArtefactError(
            f"{path} is no recipe", hint="name a TOML file, or an ONNX file of edgeq calibrate"
        )
    from edgeq.formats.onnx_io import read

    noted = read(path).metadata_props.get(NOTE)
    if noted is None:
        raise ArtefactError(
            f"{path} does not say how it was calibrated",
            hint="name a TOML file, or an ONNX file of edgeq calibrate",
        )
    content: Mapping[str, Any] = json.loads(noted)
    return content


def _with_scheme(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the tables say too that ``edgeq search`` writes, the first of them as in training."""
    own = dict(content)
    tables = {name: own.pop(name, {}) for name in ("scheme", "calibration")}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{name} is {table!r}", hint=f"give a table [{name}]")
    return {**tables["scheme"], **tables["calibration"], **own}


def _line(name: str, value: object) -> str:
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"
