"""Intervals and tests over seeds.

The claim is about a method, so the *seed* is the replicate. Two variants are compared on the seeds that both have, by
the differences of one seed's two results. Pooling test examples over seeds would treat 5 trainings as 10,000
independent observations and call four true nulls out of five "significant"; no function here does it.

Distributions come from `scipy.special`; `scipy.stats` and `statsmodels` (which imports pandas) would each cost a
report more time than the rest of it together. The tests compare every number with theirs.
"""
