"""Which step, which operator and which cause: `edgeq why`."""
