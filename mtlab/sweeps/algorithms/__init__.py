"""Samplers and pruners of a sweep."""
