"""Runs the jobs of a plan: local processes or Slurm, live status, failures."""
