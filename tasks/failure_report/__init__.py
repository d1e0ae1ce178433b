"""``hardpose report``: where the device fails, as one page."""
