# %% [markdown]
# # Does a manager find the one level that carries the answer?
#
# **Question.** In the `planted` world, level 3 of 6 carries the answer in both towers, and the other levels are
# noise. The truth is known here, so that the instrument itself can be checked.
#
# **Claim to test.** Managers with learned weights draw on level 3, and lose their accuracy without it. A bridge to
# level 3 learns the task. A bridge to level 6 stays at chance.
#
# Run the study first: `mtlab run planted`.

# %%
import polars as pl

import mtlab
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.figures.layers.worth import plot_worth

pl.Config.set_tbl_rows(-1)
study = mtlab.open_study("planted")
print(study.report.why)
print(verdict_sentence(study.report))

# %% [markdown]
# ## The figure of the claim
#
# Per level: the manager's weight, its contribution, and the validation accuracy that is lost when the level is
# removed. All three should peak at level 3.

# %%
figure = plot_worth(study.layers.found, study.worths.found, study.styles)
figure

# %% [markdown]
# ## The table of the claim
#
# Validation accuracy that is lost without a level of the text tower, mean over seeds.

# %%
PLANTED, OTHER = 3, 6
losses = pl.DataFrame(
    [
        {"label": run.label, "planted": worth.drop("text", PLANTED), "other": worth.drop("text", OTHER)}
        for run, worth in study.worths.found.items()
    ],
    schema={"label": pl.String, "planted": pl.Float64, "other": pl.Float64},
)
means = losses.group_by("label").agg(
    pl.col("planted").mean().alias(f"lost without level {PLANTED}"),
    pl.col("other").mean().alias(f"lost without level {OTHER}"),
)
table = study.table.select("label", "n", "mean", "outcome").join(means, on="label", how="left", maintain_order="left")
print(table)
