# %% [markdown]
# # How much of the difference between managers comes from the towers?
#
# **Question.** A manager can only draw on what the levels hold. Do managers differ by as much over a random vision
# tower as over a pre-trained one? Over a frozen tower as over one that is fine-tuned? Over another architecture?
#
# **Claim to test.** Managers differ where the levels of a pre-trained tower differ. Over a random tower they do not.
#
# Run the study first: `mtlab run towers`. Its fine-tuned rows take about an hour a run on one core.

# %%
import polars as pl

import mtlab
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.figures.estimates import plot_estimates

pl.Config.set_tbl_rows(-1)
study = mtlab.open_study("towers")
print(study.report.why)
print(verdict_sentence(study.report))

# %% [markdown]
# ## The figure of the claim
#
# Each row is compared with `bridge` over the same vision tower.

# %%
figure = plot_estimates(study.report, study.styles)
figure

# %% [markdown]
# ## The table of the claim
#
# The difference to `bridge`, by vision tower. `bridge` is the baseline of each column and has none.

# %%
table = study.table.pivot("axis/vision", index="axis/manager", values="difference")
print(table)

# %%
study.report
