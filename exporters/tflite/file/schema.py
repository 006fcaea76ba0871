"""The official FlatBuffer classes of the format, in one place.

They are generated and only half typed: lists where arrays are meant, None where the format asks for
a value. So they are treated as untyped here, and everything that leaves the modules using them is
typed.
"""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated

schema: Any = schema_py_generated
