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
from mtlab.statistics.correction import holm
from mtlab.statistics.paired import paired_t_examples

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
# ## Is it the same amount?
#
# What pre-training adds to each manager less what it adds to the first one, seed by seed: mean, its 95 % interval and
# the p-value of a paired t-test over seeds, corrected by Holm. No difference shown is not the same amount: the interval
# says what remains possible.

# %%
starts = study.table.select("label", "axis/variant", "axis/start")
metric = study.report.metric
scores = study.runs.filter(state="done").select("label", "seed", metric).join(starts, on="label")
scores = scores.pivot("axis/start", index=["axis/variant", "seed"], values=metric)
scores = scores.with_columns(gain=100 * (pl.col("pre-trained") - pl.col("from scratch")))
gains = scores.pivot("axis/variant", index="seed", values="gain").drop_nulls().drop("seed")
first, *others = gains.columns
found = [paired_t_examples((gains[other] - gains[first]).to_list(), None) for other in others]
corrected = holm([1.0 if each.p is None else each.p for each in found])
same = pl.DataFrame(
    [
        {"gain of": other, "less that of": first, "mean": each.difference, "low": low, "high": high, "p": p}
        for other, each, p in zip(others, found, corrected, strict=True)
        for low, high in [each.interval or (None, None)]
    ]
)
print(same)

# %% [markdown]
# ## The table of the claim
#
# One line per manager: what pre-training adds, with its corrected p-value.

# %%
pretrained = study.table.filter(pl.col("difference").is_not_null())
table = pretrained.select("axis/variant", "n", "mean", "difference", "p_corrected", "outcome")
print(table)
