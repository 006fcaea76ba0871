"""Runs kept as folders: a manifest, the document of the command, and what it wrote beside it."""
