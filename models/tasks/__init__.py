"""Small networks of the families that people deploy for detection, segmentation and signals."""
