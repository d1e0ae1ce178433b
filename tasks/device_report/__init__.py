"""``hardpose report --devices``: several devices, or firmwares, on the same frames, as one page."""
