"""Sweeps: a search of its own, of equal budget, for every variant; its trials are cells, their seeds are runs."""
