"""What training with quantisers costs, in time and in accuracy."""
