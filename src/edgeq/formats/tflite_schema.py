"""The official FlatBuffer classes of TFLite, in one place.

They are generated and only half typed: lists where arrays are meant, None where the format asks for
a value. So they are treated as untyped here, and everything that leaves the modules using them is
typed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated

schema: Any = schema_py_generated


def _names_of(enumeration: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}


OPERATOR_NAMES = _names_of(schema.BuiltinOperator)
"""The operators of the format by number."""

TYPE_NAMES = _names_of(schema.TensorType)
"""The types of tensors by number."""

ELEMENTS: dict[str, Any] = {
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FLOAT16": np.float16,
    "FLOAT32": np.float32,
    "FLOAT64": np.float64,
    "BOOL": np.bool_,
}
"""The element types of tensors that hold whole bytes, by the names of ``TYPE_NAMES``."""

METADATA_NAME = "edgeq"
"""The metadata entry of a file in which edgeq notes how it was made."""
