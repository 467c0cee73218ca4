"""Pages of the dashboard: list of studies, run, token explorer."""
