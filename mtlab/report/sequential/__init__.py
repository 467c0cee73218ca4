"""Seeds until decided: a look at a study, and what its looks mean for the report."""
