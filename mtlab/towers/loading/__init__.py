"""Builds pre-trained networks and loads their weights."""
