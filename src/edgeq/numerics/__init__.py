"""Arithmetic that several rooms compute alike: multipliers, sampling points, functions of single numbers."""
