"""Bundles of single mechanisms: a published way to draw on layers, rebuilt as one of our managers and compared."""
