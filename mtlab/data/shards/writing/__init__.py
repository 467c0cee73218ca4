"""Writes shards."""
