"""One module for each tracker; `mtlab.tracking.base` finds them here."""
