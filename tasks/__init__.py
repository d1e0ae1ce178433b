"""The work: one file per stage, and the chain that joins them."""
