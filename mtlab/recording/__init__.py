"""Recordings of a run's model beside its metrics: arrays in the run directory. They never change a result."""
