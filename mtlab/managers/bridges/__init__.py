"""Bridges: one expert for each cross-modal layer."""
