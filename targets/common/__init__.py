"""What targets share.

Sessions, what goes in and comes out, probing, and checks before a runtime sees a file.
"""
