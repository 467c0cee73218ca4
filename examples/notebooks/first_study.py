# %% [markdown]
# # A first study, from Python alone
#
# A *study* compares variants of a model that differ in how its cross-modal encoder draws on the layers of its towers.
# Here it is declared as a mapping, planned, run and reported without leaving the notebook.
#
# The world is `planted`: level 2 of 4 of each tower carries the answer, the other levels are noise. So it is known what
# a good manager should find. All of it trains in two to three minutes on two cores.

# %%
import mtlab

study = mtlab.Study.load(
    {
        "name": "first",
        "why": "Do learned weights over levels beat a plain mean, and do they find the level that carries the answer?",
        "set": {
            "text": {"name": "planted", "depth": 4, "planted": 2},
            "vision": {"name": "planted", "depth": 4, "planted": 2},
            "data": {"name": "planted", "train": 2000, "val": 400, "test": 400},
            "model": {"width": 32, "heads": 4, "cross_layers": 1, "mlp_ratio": 1, "dropout": 0.0},
            "train": {"length": {"steps": 300}, "eval_every": 100},
        },
        "axes": {"manager": ["mean", "static", "adaptive"]},
        "baseline": {"manager": "mean"},
        "seeds": 3,
    }
)

# %% [markdown]
# ## The plan
#
# A row for each run: a variant with a seed. Its id is a hash of everything that can change its result. Nothing has been
# started; a mistake in the study would have been reported in one line.

# %%
study.plan().select("label", "seed", "state", "run")

# %% [markdown]
# ## Run it
#
# One process per core. Interrupt it at any time: run the cell again, and it goes on. Finished runs are never repeated.

# %%
study.run()

# %% [markdown]
# ## The report
#
# The seed is the replicate: mean and interval over seeds, the difference to the baseline on the same seeds, and whether
# it is more than chance.

# %%
study.report()

# %%
study.figure("comparison")

# %% [markdown]
# ## The numbers
#
# A polars table with a row for each run. `study.frame().to_pandas()` is the same for pandas.

# %%
table = study.frame().select("label", "seed", "val/accuracy", "test/accuracy", "cost/trained_params", "cost/seconds")
table

# %% [markdown]
# ## Ask more
#
# Change the mapping and load it again: with another manager on the axis, or five seeds, only the new runs are trained.
# `mtlab.Study.load("quickstart")` loads a shipped recipe, `mtlab.Study.load("mine.yaml")` a file. The command line sees
# the same store: `mtlab report first --format html` writes the page with all figures.
