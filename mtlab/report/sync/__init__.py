"""Sends the runs of a study, and figures of them, from the store to trackers (`mtlab.tracking`)."""
