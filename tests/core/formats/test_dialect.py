"""Dialects are data, and every name that a user may type finds one or says why not."""

from __future__ import annotations

import pytest

from edgeq.errors import UnknownName, UsageError
from edgeq.formats.dialect import CANONICAL, DIALECTS, TFLITE
from edgeq.target import TARGETS, dialect_for


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_runtimes_of_the_table(name: str) -> None:
    assert dialect_for(name).format == "onnx"


@pytest.mark.parametrize("name", TARGETS.names())
def test_a_targets_dialect_is_of_a_format_that_it_opens(name: str) -> None:
    can = TARGETS.load(name).capabilities
    if can.dialect is None:
        with pytest.raises(UsageError, match="checkpoints"):
            dialect_for(name)
        return
    assert dialect_for(name) is can.dialect
    assert can.dialect.format in can.formats
    assert can.dialect.activation_dtype in can.storage_dtypes or not can.storage_dtypes


def test_the_fast_storage_dtype_of_each_runtime() -> None:
    assert dialect_for("ort-cpu") == CANONICAL
    assert dialect_for("tflite") == TFLITE


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'tensorrt'"):
        dialect_for("tensorr")
