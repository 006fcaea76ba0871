"""The quantisers, one published method a file; each rounds in training exactly as an integer runtime will."""
