"""Where the cells of a sweep are computed. Each engine is thin: the store is the truth."""
