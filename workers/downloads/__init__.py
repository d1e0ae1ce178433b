"""Getting videos here: local files and direct links, under limits, and never into a private network."""
