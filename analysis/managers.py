# %% [markdown]
# # Does aggregating several layers beat one layer per bridge?
#
# **Question.** Each cross-modal layer needs input from the towers. A *bridge* gives it one level (one layer of the
# tower). A *manager* gives it a mixture of several levels. Is the mixture better? Does it matter that its weights are
# learned, or that they adapt to each token?
#
# **Claim to test.** A manager with learned weights has a higher test accuracy than `bridge`, on the same seeds. The
# controls keep a manager from being oversold: the top level alone (`last`), the best single one (`image level 3`), the
# plain `mean`, and a static manager whose weights stay uniform. If these do as well, learning the weights is not the
# reason.
#
# Run the study first: `mtlab run managers`. For all shipped managers: `mtlab run managers_all` (without `image level
# 3`), and change the name below.

# %%
import polars as pl

import mtlab
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.figures.estimates import plot_estimates
from mtlab.report.figures.layers.aggregation import plot_aggregation
from mtlab.report.figures.layers.worth import plot_worth

pl.Config.set_tbl_rows(-1)
study = mtlab.open_study("managers")
print(study.report.why)
print(verdict_sentence(study.report))

# %% [markdown]
# ## Which levels do the managers draw on, and what are these levels worth?
#
# A contribution is the share of a manager's output that comes from one level. A level may have a large share and be
# worth nothing: the second figure shows how many points of validation accuracy are lost without it.

# %%
contributions = plot_aggregation(study.layers.found, study.styles)
contributions

# %%
worth = plot_worth(study.layers.found, study.worths.found, study.styles)
worth

# %% [markdown]
# ## The figure of the claim
#
# Left: the mean over seeds and its interval. Right: the difference to `bridge` on the same seeds. A filled mark is a
# difference that was shown after correction.

# %%
figure = plot_estimates(study.report, study.styles)
figure

# %% [markdown]
# ## The table of the claim

# %%
table = study.table
print(table)

# %%
study.report
