"""Trackers: sinks for metrics and figures besides the store, which stays the truth. Nothing here trains."""
