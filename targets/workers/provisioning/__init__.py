"""Environments for runtimes that cannot live in edgeq's own."""
