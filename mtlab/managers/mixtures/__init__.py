"""Managers: mixtures of several experts for each cross-modal layer."""
