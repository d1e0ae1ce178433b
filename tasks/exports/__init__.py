"""Exports: which frames, their split, and one file for each format that trainers read."""
