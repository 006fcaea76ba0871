"""The quantisers, one published method a file.

Each rounds in training exactly as an integer runtime will.
"""
