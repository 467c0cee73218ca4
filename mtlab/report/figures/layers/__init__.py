"""Figures of the levels that managers use."""
