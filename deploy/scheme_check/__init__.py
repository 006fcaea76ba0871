"""Whether targets can hold what a scheme asks for, before anything is trained."""
