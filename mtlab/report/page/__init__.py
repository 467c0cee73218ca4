"""A study as one page that opens from the file system: table, figures, where it all comes from. Needs no network."""
