"""The networks of this folder are as good as their baseline; the gate runs once for all tests."""

import pytest


@pytest.mark.edgeq(rule="accuracy")
def test_no_accuracy_is_lost(edgeq_gate):
    edgeq_gate.require_passed()


@pytest.mark.edgeq(rule="exactness")
def test_no_integer_has_changed(edgeq_gate):
    edgeq_gate.require_passed()


def test_everything_else_holds(edgeq_gate):
    assert edgeq_gate.passed, edgeq_gate.summary
