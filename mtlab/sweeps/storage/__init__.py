"""Where Optuna's studies are kept: a journal file or PostgreSQL."""
