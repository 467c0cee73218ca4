"""The sweeps that ship with mtlab; they are YAML, this file only lets them be packaged."""
