"""From YAML to a checked configuration with an identity."""
