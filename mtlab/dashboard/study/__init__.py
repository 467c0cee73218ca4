"""The dashboard page of a study, one module per tab."""
