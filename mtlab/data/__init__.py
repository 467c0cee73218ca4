"""Data sets, their batches, and the cache of what frozen towers make of them."""
