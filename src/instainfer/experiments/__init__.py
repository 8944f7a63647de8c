"""Comparisons of systems, live or simulated. This room starts platforms and measures them; it decides nothing."""
