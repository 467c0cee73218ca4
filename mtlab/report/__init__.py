"""Reads the run store, never trains: frames, comparisons, tables and reports. Imports no torch."""
