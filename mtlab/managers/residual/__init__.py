"""Managers that add levels to the previous state, as they are: no norm, no softmax."""
