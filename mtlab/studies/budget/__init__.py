"""What a study costs before it runs: parameters, arithmetic, memory, time and disk."""
