"""The emulator's program of a TFLite file."""
