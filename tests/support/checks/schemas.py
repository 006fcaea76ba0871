"""Documents are what the schemas that come with edgeq say."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


def check_document(document: Any) -> None:
    """Check a document with the schema that it names."""
    name = document["schema"].removeprefix("edgeq.").partition("/")[0]
    validator_of(name).validate(document)


@cache
def validator_of(name: str) -> Validator:
    """The validator of the documents of a command."""
    import jsonschema

    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def schema_of(name: str) -> Any:
    """The schema that comes with edgeq."""
    file = resources.files("edgeq.deploy").joinpath(f"schemas/{name}.schema.json")
    return json.loads(file.read_text("utf-8"))
