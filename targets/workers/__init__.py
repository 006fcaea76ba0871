"""Runtimes in other processes: in another environment, an emulator, a container or on a board."""
