"""Sends what runs log, and figures of it, to trackers."""
