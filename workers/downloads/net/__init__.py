"""The network as a link may reach it: every address is checked, whoever connects to it."""
