"""Ranking captions for images and images for captions."""
