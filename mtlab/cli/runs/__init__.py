"""Commands on single runs, in any state."""
