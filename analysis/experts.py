# %% [markdown]
# # Which levels of the towers carry the answers, and how many should be offered?
#
# **Question.** A level is one layer of a tower, counted from the bottom. Which single level of the text tower and of
# the image tower gives the best answers? Is it enough to offer the top two levels to a manager, or do three or all of
# them help?
#
# **Claim to test.** The top level is not always the best one. If another level alone does as well as a manager over
# several levels, then choosing the right level explains the gain, and mixing does not.
#
# The levels are chosen by **validation** accuracy, on seeds that no comparison uses. Run the study first: `mtlab run
# experts`.

# %%
import polars as pl

import mtlab
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.figures.estimates import plot_estimates

pl.Config.set_tbl_rows(-1)
study = mtlab.open_study("experts")
print(study.report.why)
print(verdict_sentence(study.report))

# %% [markdown]
# ## Which levels are best on validation data?

# %%
validation = study.runs.group_by("label", maintain_order=True).agg(pl.col("val/accuracy").mean())
print(validation.sort("val/accuracy", descending=True))

# %% [markdown]
# ## The figure of the claim
#
# Rows such as `text 5 + image 5` offer one level of each tower. Rows `static, …` mix several. A row near the accuracy
# of a blind guess has not been trained: it says nothing about its level.

# %%
figure = plot_estimates(study.report, study.styles)
figure

# %% [markdown]
# ## The table of the claim

# %%
table = study.table
print(table)
