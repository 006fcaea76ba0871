"""Runtimes in processes of their own, in another environment, under an emulator, in a container or on a board."""
