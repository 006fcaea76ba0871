"""What a float model is fed while its ranges are measured."""
