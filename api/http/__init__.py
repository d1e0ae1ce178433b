"""The HTTP API: one module for each kind of thing that it shows, and the guards in front of them."""
