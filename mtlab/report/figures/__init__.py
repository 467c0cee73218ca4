"""Figures: pure functions from recordings of runs to `plotly.graph_objects.Figure`, one figure a module."""
