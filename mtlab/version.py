"""Versions that a run's id depends on."""

ENGINE_VERSION = 1  #: of the loop and the encoder: raise it when the same configuration and seed give other results
