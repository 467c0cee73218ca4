"""The cost of a study before it runs: parameters, FLOPs, memory, time and disk."""
