"""`mtlab sweep` and its subcommands."""
