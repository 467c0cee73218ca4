"""From a study file to finished runs: spec, expansion, plan, store, launcher."""
