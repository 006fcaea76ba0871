"""edgeq: is what the device computes what was trained, and if not, where, by how much and why?"""

__version__ = "0.1.0"
