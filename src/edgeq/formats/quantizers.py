"""The operators of ONNX that stand between real numbers and integers."""

QUANTIZERS = frozenset(("QuantizeLinear", "DequantizeLinear"))
"""What makes a file a QDQ file."""
