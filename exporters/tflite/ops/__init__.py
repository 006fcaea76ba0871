"""How each family of operators becomes TFLite's."""
