"""optuna-dashboard for sweeps."""
