"""From a trained network in PyTorch to canonical QDQ ONNX."""
