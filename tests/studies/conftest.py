"""A Slurm cluster of this machine, for the tests that need one."""

from slurm_cluster import cluster, running_cluster  # noqa: F401 - fixtures
