"""One file a command: its flags, and nothing that the functions it calls could do themselves."""
