"""Optimiser, parameter groups and learning-rate schedule."""
