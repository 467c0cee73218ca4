# %% [markdown]
# # Does pre-training on captions pay, and equally for every way of aggregating layers?
#
# **Question.** Each variant is trained on questions twice: from scratch, and from a run that was pre-trained on
# captions with the same manager. The study runs the pre-training itself.
#
# **Claim to test.** Pre-training raises the test accuracy of every variant, and by the same amount.
#
# Run the study first: `mtlab run pretraining`.

# %%
import polars as pl

import mtlab
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.figures.curves import plot_curves
from mtlab.report.figures.estimates import plot_estimates

pl.Config.set_tbl_rows(-1)
study = mtlab.open_study("pretraining")
print(study.report.why)
print(verdict_sentence(study.report))

# %% [markdown]
# ## Does pre-training change how fast a variant learns?

# %%
curves = plot_curves(study.histories.found, study.report.choose, study.styles)
curves

# %% [markdown]
# ## The figure of the claim
#
# Each pre-trained row is compared with the same manager from scratch.

# %%
figure = plot_estimates(study.report, study.styles)
figure

# %% [markdown]
# ## The table of the claim
#
# One line per manager: what pre-training adds, with its corrected p-value.

# %%
pretrained = study.table.filter(pl.col("difference").is_not_null())
table = pretrained.select("axis/variant", "n", "mean", "difference", "p", "outcome")
print(table)
