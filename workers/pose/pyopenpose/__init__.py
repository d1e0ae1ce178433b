"""OpenPose's own Python module, in a process of its own."""
