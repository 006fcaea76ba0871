"""What ONNX Runtime's kernels on x86 make of a quantised file."""
