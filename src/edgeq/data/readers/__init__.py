"""Readers of data sets' files, which nobody has to trust."""
