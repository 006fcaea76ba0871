"""The TFLite file itself: its bytes, layouts and versions."""
