"""Finished runs and checkpoints: load, encode, evaluate, intervene, inspect. The Python API."""
