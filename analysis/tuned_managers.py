# %% [markdown]
# # Does aggregating several layers still beat a bridge when every variant is tuned equally?
#
# **Question.** A comparison in which one side was tuned and the other was not is worth nothing. The sweep gives every
# variant the same number of trials on validation data. It then retrains each winner on fresh seeds and evaluates it
# on test data.
#
# **Claim to test.** Tuned with the same budget, a manager with learned weights has a higher test accuracy than
# `bridge`.
#
# Run the sweep first: `mtlab sweep managers`. It takes about an hour on two cores.

# %%
import polars as pl

import mtlab
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.figures.estimates import plot_estimates
from mtlab.report.figures.sweep.best_so_far import plot_best_so_far
from mtlab.report.sweep_report import build_sweep_report
from mtlab.sweeps.stored import open_sweep

pl.Config.set_tbl_rows(-1)
NAME = "sweep-managers"  # or "sweep-managers-all" or "sweep-managers-vit": `mtlab sweep managers_all`, `managers_vit`
study = mtlab.open_study(f"{NAME}-final")  # the study of the tuned variants
print(study.report.why)
print(verdict_sentence(study.report))

# %% [markdown]
# ## Had every variant the same search?
#
# The best validation accuracy so far, by trial. A curve that still rises at the end asks for a larger budget.

# %%
with open_sweep(study.store, study.store.plan(NAME)) as (_, searches):
    progress = plot_best_so_far(searches, study.styles)
    search = build_sweep_report(study.store, study.store.plan(NAME), searches)
progress

# %%
searched = pl.DataFrame(
    [
        {
            "label": row.label,
            "trials": row.ended,
            "best on validation": row.best.values[0] if row.best is not None else None,
            "settings": row.best.settings if row.best is not None else None,
        }
        for row in search.rows
    ]
)
print(searched)

# %% [markdown]
# ## The figure of the claim
#
# Test accuracy on fresh seeds. The best value of a search is higher than that, because validation data chose it.

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
