"""Post-training quantisation of float ONNX models into canonical QDQ ONNX."""
