"""Tests that depend on who runs them."""

import os

import pytest

NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
