"""Scenes of shapes: drawing, rendering, and the questions and captions about them."""
