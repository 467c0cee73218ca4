"""From the public raw files of a data set to rows that can be written into shards: one data set a module."""
