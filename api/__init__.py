"""The front door: what people and programs touch."""
