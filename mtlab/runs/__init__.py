"""The run store: layout, locks, checksums, checkpoints, results."""
