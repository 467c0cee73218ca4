"""One expert for each cross-modal layer (bridges), or for the first alone (last)."""
