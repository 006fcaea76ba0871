"""QDQ files as integer operators.

What there is (``ir``), how files become it (``reader``), and what is read off it.
"""
