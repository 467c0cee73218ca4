"""The contract that every manager keeps: its rules, shared by `mtlab plan`, `mtlab check` and `mtlab.testing`."""
