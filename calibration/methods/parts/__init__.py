"""What methods of post-training quantisation share: layers, blocks and rounding, in torch too."""
