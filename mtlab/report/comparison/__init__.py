"""Variants of a study side by side: their results by seed, and tests of the differences between them."""
