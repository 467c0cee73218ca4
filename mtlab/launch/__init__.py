"""Runs the jobs of a plan: local processes, Slurm or Ray, live status, failures."""
