"""Rewrites of a float ONNX model into the few operators that the other passes know."""
