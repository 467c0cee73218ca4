# %% [markdown]
# # Which way of aggregating layers works for which task?
#
# **Question.** Question answering, entailment, reasoning over pairs of images, retrieval and pre-training ask
# different things of the same encoder. Is one way of aggregating layers ahead in all of them?
#
# **Claim to test.** The order of the managers is the same for all tasks.
#
# The shipped study has two seeds: it shows that every task runs, and cannot settle the claim. Ask for more seeds with
# `mtlab run tasks study.seeds=5`. Differences are tested task by task; that orders agree is shown, and not tested. Run
# the study first: `mtlab run tasks`.

# %%
import polars as pl

import mtlab
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.figures.estimates import plot_estimates

pl.Config.set_tbl_rows(-1)
study = mtlab.open_study("tasks")
print(study.report.why)
print(verdict_sentence(study.report))

# %% [markdown]
# ## The figure of the claim
#
# Each row is compared with `bridge` on the same task. The metric is the primary metric of the task: tasks cannot be
# compared with each other.

# %%
figure = plot_estimates(study.report, study.styles)
figure

# %% [markdown]
# ## The table of the claim
#
# The mean of the primary metric over seeds, by task.

# %%
table = study.table.pivot("axis/manager", index="axis/world", values="mean")
print(table)

# %%
study.report
