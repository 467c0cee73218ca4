"""Data sets written as files, in the layouts in which the field's public data sets come."""
