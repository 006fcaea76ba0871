"""What a calibration cost each layer, and why."""
