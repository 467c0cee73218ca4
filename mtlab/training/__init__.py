"""Training one run: the loop, its optimiser and schedule, checkpoints, seeding, and the worker process."""
