"""The page of results: of one command or of many runs, in one file that needs no network."""
