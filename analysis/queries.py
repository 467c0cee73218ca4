# %% [markdown]
# # What should a token ask with?
#
# **Question.** An adaptive manager computes the weights of the levels for each token from a query. The published
# query is *fused*: the token attends to the other modality first. It also attends to padding tokens. Does the token's
# own state do as well as a query? Does it cost anything to read padding?
#
# **Claim to test.** A fused query without padding has a higher accuracy than the token's own state, than the
# published query with padding, and than no query at all (`static`).
#
# Run the study first: `mtlab run queries`.

# %%
import polars as pl

import mtlab
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.figures.estimates import plot_estimates
from mtlab.report.figures.layers.specialisation import plot_specialisation

pl.Config.set_tbl_rows(-1)
study = mtlab.open_study("queries")
print(study.report.why)
print(verdict_sentence(study.report))

# %% [markdown]
# ## Do the weights differ between the tokens of one example?
#
# At 0 all tokens are treated alike, as by `static`: then the query has no effect.

# %%
specialisation = plot_specialisation(study.layers.found, study.styles)
specialisation

# %% [markdown]
# ## The figure of the claim

# %%
figure = plot_estimates(study.report, study.styles)
figure

# %% [markdown]
# ## The table of the claim

# %%
table = study.table
print(table)
