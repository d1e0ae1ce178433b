"""The parts of a published data set: which frames it holds, and each of its files."""
