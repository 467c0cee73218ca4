"""What a run tells of its model beside its metrics: arrays in the run directory. Nothing here can change a result."""
