"""Many runs as a grid or a search, each a cell that is computed once; see ``edgeq sweep``."""
