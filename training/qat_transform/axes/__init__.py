"""Axes as files have them: the batch first, images of four, parts as slices."""
