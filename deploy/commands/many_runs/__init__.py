"""Commands that run others' work many times: a search of precisions, and a sweep."""
