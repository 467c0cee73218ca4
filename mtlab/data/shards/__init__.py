"""Data sets as WebDataset shards: what such a folder holds, how it is written, read at random, and streamed."""
