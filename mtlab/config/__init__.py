"""The schema of a configuration: options, checks, registry, and YAML with file and line."""
