"""Errors along the depth of a network, block by block."""
