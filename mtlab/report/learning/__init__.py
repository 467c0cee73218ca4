"""How fast variants learn, from the validation curves of their runs."""
