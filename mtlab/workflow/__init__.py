"""A study from its file to its report, for the command line and for Python."""
