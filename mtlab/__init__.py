"""Experiments and ablations on how a cross-modal encoder draws on the layers of uni-modal experts."""
