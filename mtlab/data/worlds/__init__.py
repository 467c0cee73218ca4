"""Synthetic data sets, generated from their options."""
