"""Commands on trained and published models."""
