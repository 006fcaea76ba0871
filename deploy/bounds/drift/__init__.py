"""How far a deployed file can be from the real numbers that it stands for."""
