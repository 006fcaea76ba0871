"""The functions of ``edgeq``: what the commands do, for programs and notebooks.

Each is thin over the function that its command calls, and returns its frozen result.
"""
