"""Writes deploy/schemas/, a JSON Schema for each document of ours, from the types of the records.

Run it with ``make docs``; a test compares the files with what this module renders, and every
document that a test asks for is checked with its schema.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

FOLDER = Path(__file__).parents[1] / "deploy" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema: TypeAlias = dict[str, Any]
Form: TypeAlias = Mapping[str, Any]
ERROR: Schema = {
    "description": "What was wrong; null where nothing was.",
    "type": ["object", "null"],
    "properties": {
        "kind": {"type": "string", "description": "The class of edgeq.errors."},
        "message": {"type": "string"},
        "hint": {"type": "string"},
        "exit_code": {"type": "integer"},
    },
    "required": ["kind", "message", "hint", "exit_code"],
    "additionalProperties": False,
}
PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},  # what is not finite becomes null
    Path: {"type": "string"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
}


def documents() -> dict[str, tuple[Form, ...]]:
    """What the document of each command holds beside its head: each form that it can have."""
    from edgeq.calibration.inspection.layer_costs import LayerCost
    from edgeq.data.dataset import DatasetInfo
    from edgeq.deploy.bounds.run import Bounds
    from edgeq.deploy.demo.content import Report
    from edgeq.deploy.diff.run import FileDiff
    from edgeq.deploy.evaluation.audit import Audit
    from edgeq.deploy.evaluation.calibrated import Trials
    from edgeq.deploy.evaluation.emulation import Emulation
    from edgeq.deploy.evaluation.profiling.result import Profiled
    from edgeq.deploy.evaluation.selftest import SelfTest
    from edgeq.deploy.evaluation.survey import Survey
    from edgeq.deploy.evaluation.verify import Verification
    from edgeq.deploy.gate.result import GateResult
    from edgeq.deploy.lint.run import LintReport
    from edgeq.deploy.listing import TargetRow
    from edgeq.deploy.pipeline.export import ExportedFile
    from edgeq.deploy.runs.figures import Figure, RunComparison
    from edgeq.deploy.runs.manifest import Manifest
    from edgeq.deploy.scheme_check.findings import Finding
    from edgeq.deploy.search.result import SearchResult
    from edgeq.deploy.sweep.run import SweepResult
    from edgeq.deploy.why.detail import TensorDetail
    from edgeq.deploy.why.records import Why
    from edgeq.device import Device
    from edgeq.exporters.tflite.operators import OperatorSupport
    from edgeq.machine import Machine
    from edgeq.models.catalogue import ModelEntry, ModelSpec
    from edgeq.models.stability.symmetric import StepMargin
    from edgeq.results import Accuracy, Comparison, Score
    from edgeq.training.graph.recipe import GraphRecipe
    from edgeq.training.graph.records import GraphEpoch
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.run.records import Epoch

    exported = {
        ("unsigned_weights" if name == "unsigned" else name): kind
        for name, kind in hints(ExportedFile).items()
        if name != "target"
    }
    checked = {
        "target": str,
        "exact": bool,
        "usable": bool,
        "why_not": str,
        "hint": str,
        "findings": list[Finding],
    }
    named = {"name": str, "classes": list[str], "splits": dict[str, int]}
    source = {
        **named,
        "shapes": dict[str, list[int]],
        "task": str,
        "preprocessing": dict[str, Any],
        "broken": dict[str, list[str]],
        "doubts": list[str],
    }
    graph = {**named, "shape": list[int], "edges": int}
    listed = {"folder": str, "manifest": Manifest}
    tested = {"correct": int, "total": int, "low": float, "high": float}
    return {
        "audit": ({"audit": Audit},),
        "bounds": ({"accumulator_bits": int | None, "bounds": Bounds},),
        "calibrate": (
            {"statistics": str, "samples": int},
            {
                "path": str,
                "size_bytes": int,
                "data": str,
                "samples": int,
                "split": str,
                "scheme": str,
                "observer": str,
                "weight_method": str,
                "methods": list[str],
                "per_channel": bool,
                "pair_safe": bool,
                "device": Device | None,
                "held_back": Comparison | None,
                "not_judged": str,
                "collapsed": str,
                "layers": list[LayerCost],
                "told": list[str],
                "trials": Trials | None,
            },
        ),
        "check": ({"recipe": Recipe | GraphRecipe, "targets": [checked]},),
        "compare": ({"statistics": str, "samples": int}, {"comparison": Comparison}),
        "data": ({"data": list[DatasetInfo]}, {"data": [source]}, {"data": [graph]}),
        "demo": ({"folder": str, "report": Report},),
        "diff": ({"equal": bool, "diff": FileDiff},),
        "emulate": ({"emulation": Emulation},),
        "error": ({},),
        "export": (
            {"files": [exported]},
            {"files": [exported], "verification": dict[str, Verification]},
        ),
        "gate": (
            hints(GateResult),
            {"config": str, "stages": list[str], "rules": list[str]},
            {"samples": int, "min_detectable_drop_points": float | None, "power": float},
        ),
        "lint": ({"files": list[LintReport]},),
        "models": (
            {"models": list[ModelEntry], "published": list[ModelSpec]},
            {"run": str, "margins": list[StepMargin]},
        ),
        "operators": ({"operators": list[OperatorSupport], "calibrated_as": dict[str, str]},),
        "profile": ({"machine": Machine, **hints(Profiled)},),
        "runs": (
            {"runs": [listed]},
            {"comparison": RunComparison, "different": list[Figure]},
            {"pruned": list[str], "deleted": bool},
        ),
        "search": (
            {
                **hints(SearchResult),
                "scheme": str,
                "flags": list[str],
                "pareto": list[int],
                "unseen_loss": float | None,
            },
        ),
        "survey": ({"machine": Machine, "survey": Survey},),
        "sweep": ({"folder": str, "title": str, "result": SweepResult},),
        "targets": (
            {"targets": list[TargetRow], "package_conflicts": list[str], "machine": Machine},
            {"targets": list[TargetRow], "self_tests": list[SelfTest]},
            {"devices": list[Device]},
            {"target": str, "place": str},
        ),
        "train": (
            {
                "folder": str,
                "recipe": Recipe | GraphRecipe,
                "best_epoch": int,
                "validation": float,
                "test": Score | Accuracy | None,
                "seconds": float,
                "history": list[Epoch | GraphEpoch],
            },
            {
                "folder": str,
                "recipe": Recipe | GraphRecipe,
                "best_epoch": int,
                "validation": float,
                "test": tested,
                "seconds": float,
                "history": list[Epoch | GraphEpoch],
            },
        ),
        "why": ({"exact": bool, "why": Why, "tensor": list[TensorDetail]},),
    }


def render() -> dict[str, str]:
    """Every schema by the name of its file."""
    from edgeq.deploy.console import JSON_VERSION
    from edgeq.deploy.runs.manifest import SCHEMA, Manifest

    made = {
        f"{name}.schema.json": document(f"edgeq.{name}/{JSON_VERSION}", forms, head=True)
        for name, forms in documents().items()
    }
    made["run.schema.json"] = document(SCHEMA, (hints(Manifest),), head=False)
    return {name: json.dumps(schema, indent=1) + "\n" for name, schema in made.items()}


def document(schema: str, forms: Iterable[Form], *, head: bool) -> Schema:
    """The schema of a document.

    Args:
        schema: what it says of itself.
        forms: its other keys, in each form that it can have.
        head: whether it has what all documents of commands have.
    """
    records: dict[str, Schema] = {}
    common: Schema = {"schema": {"const": schema}}
    if head:
        common |= {
            "edgeq_version": {"type": "string"},
            "next": {"type": "string", "description": "The next sensible command."},
            "error": ERROR,
        }
    found = [
        shape({**common, **{name: schema_of(kind, records) for name, kind in form.items()}})
        for form in forms
    ]
    name, _, version = schema.removeprefix("edgeq.").partition("/")
    return {
        "$schema": DIALECT,
        "$id": f"urn:edgeq:{name}:{version}",
        "title": f"What edgeq {name} prints with --json" if head else f"The manifest of a {name}",
        **(found[0] if len(found) == 1 else {"anyOf": found}),
        "$defs": dict(sorted(records.items())),
    }


def shape(properties: Mapping[str, Schema]) -> Schema:
    """An object with these keys and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def schema_of(kind: Any, records: dict[str, Schema]) -> Schema:
    """The schema of a type; records are put into a table, and referred to.

    Raises:
        TypeError: no record of ours should hold it.
    """
    if isinstance(kind, Mapping):
        return shape({name: schema_of(each, records) for name, each in kind.items()})
    if isinstance(kind, list):
        return {"type": "array", "items": schema_of(kind[0], records)}
    if kind in PLAIN:
        return PLAIN[kind]
    if isinstance(kind, str | typing.ForwardRef):  # edgeq.plain.Json, which holds itself
        return {}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(each, records) for each in arguments]}
    if origin is tuple and (len(arguments) < 2 or arguments[1] is not Ellipsis):
        items = [schema_of(each, records) for each in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema_of(arguments[1], records)}
    if isinstance(origin, type) and issubclass(origin, Collection):
        return {"type": "array", "items": schema_of(arguments[0], records)}
    if is_dataclass(kind) and isinstance(kind, type):
        return record_of(kind, records)
    raise TypeError(f"no schema is known of {kind!r}")


def record_of(kind: type, records: dict[str, Schema]) -> Schema:
    """A reference to the schema of a record."""
    name = kind.__name__
    told = f"{kind.__module__}.{kind.__qualname__}"
    if name in records and records[name]["description"] != told:
        name = told
    if name not in records:
        records[name] = {"description": told}
        kinds, inlined = hints(kind), {each.name for each in fields(kind) if inline(each)}
        own = {
            each: schema_of(held, records) for each, held in kinds.items() if each not in inlined
        }
        made = shape(own)
        for each in inlined:  # stands beside the other fields
            made["additionalProperties"] = schema_of(get_args(kinds[each])[1], records)
        records[name] |= made
    return {"$ref": f"#/$defs/{name}"}


def inline(field: Any) -> bool:
    """Whether what a field holds stands beside the other fields."""
    return bool(field.metadata.get("inline"))


def hints(kind: type) -> dict[str, Any]:
    """The types of the fields of a record, also where they are imported for checkers only."""
    known: dict[str, Any] = {}
    for each in reversed(kind.__mro__):
        if each.__module__.startswith("edgeq"):
            known |= checked_imports(each.__module__)
    found = typing.get_type_hints(kind, globalns=vars(sys.modules[kind.__module__]) | known)
    return {each.name: found[each.name] for each in fields(kind)}  # type: ignore[arg-type]


@cache
def checked_imports(module: str) -> dict[str, Any]:
    """What a module imports under TYPE_CHECKING."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    names: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            imports = [each for each in node.body if isinstance(each, ast.Import | ast.ImportFrom)]
            code = compile(ast.Module(body=[*imports], type_ignores=[]), module, "exec")
            exec(code, names)  # noqa: S102  import statements of ours
    return names


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in render().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
