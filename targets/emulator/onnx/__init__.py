"""The emulator's program of a QDQ ONNX file."""
