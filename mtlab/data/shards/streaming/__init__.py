"""Streams training batches from shards, with exact resume."""
