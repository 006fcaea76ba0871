"""edgeq's own integer-only interpreter, with the arithmetic of other machines as data."""
