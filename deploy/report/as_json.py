"""The report as a document for programs.

The records as they are, in an order that never changes, with no NaN in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edgeq.plain import record

if TYPE_CHECKING:
    from edgeq.deploy.report.content import Report
    from edgeq.plain import Json

SCHEMA = "edgeq.report/2"


def render_json(report: Report) -> bytes:
    """The report as UTF-8 JSON: ``schema`` first, then the fields of :class:`Report`.

    JSON has no NaN and no infinity, so both become null: an ``sqnr_db`` of null beside an ``mse``
    of 0 means equal.
    """
    document: Json = {"schema": SCHEMA, **record(report)}
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
