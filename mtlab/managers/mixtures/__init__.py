"""Managers that aggregate several experts."""
