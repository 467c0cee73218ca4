"""Sinks for metrics and figures beside the run store, which stays the truth; `mtlab.report.sync` sends runs to them.

No part of training calls a sink: a process of its own does, so that none can stop or hold up training.
"""
