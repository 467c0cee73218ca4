"""Static HTML pages of studies and sweeps: one file each, which opens without a network."""
