"""Figures of hyper-parameter searches."""
