"""The hands: models, devices, downloaders, weights, and the process that serves a queue."""
