"""Figures: pure functions from what runs recorded to `plotly.graph_objects.Figure`, one idea a module."""
