"""Arithmetic that several rooms share: multipliers, sampling points, elementwise functions."""
