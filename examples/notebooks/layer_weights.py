# %% [markdown]
# # Reading layer weights
#
# Every run records how its managers weigh the levels of the towers. Three quantities answer three questions:
#
# - **weight**: what the manager multiplies a level by;
# - **contribution**: the share of the manager's output that comes from the level, which counts how large the level's
#   states are, too;
# - **worth**: the validation accuracy that is lost without the level.
#
# A level may have a large weight and be worth nothing. Only an intervention tells.

# %%
import polars as pl

import mtlab
from mtlab.data.worlds.planted import PlantedCodes

study = mtlab.Study.load(
    {
        "name": "weights",
        "why": "Which level does each manager draw on, where level 2 of 4 carries the answer?",
        "set": {
            "text": {"name": "planted", "depth": 4, "planted": 2},
            "vision": {"name": "planted", "depth": 4, "planted": 2},
            "data": {"name": "planted", "train": 2000, "val": 400, "test": 400},
            "model": {"width": 32, "heads": 4, "cross_layers": 1, "mlp_ratio": 1, "dropout": 0.0},
            "train": {"length": {"steps": 300}, "eval_every": 100, "lr_layer_weights": 30},
            "record": {"interventions": True},
        },
        "axes": {"manager": ["mean", "static"]},
        "baseline": {"manager": "mean"},
        "seeds": 2,
    }
)
study.run()

# %% [markdown]
# ## A tidy table
#
# A row for each run, modality, cross-modal layer and level. Contributions of a layer sum to one.

# %%
layers = study.layers()
table = (
    layers.filter(pl.col("level").is_not_null())
    .group_by("variant", "modality", "level")
    .agg(pl.col("weight", "contribution", "worth").mean())
    .sort("variant", "modality", "level")
)
table

# %% [markdown]
# ## The same as figures
#
# Contributions first; then what each level is worth, beside its weight and contribution. `mean` weighs all levels
# alike, and yet loses its accuracy without level 2: equal weights say nothing about what is used.

# %%
study.figure("aggregation")

# %%
study.figure("worth")

# %% [markdown]
# ## How the weights came about

# %%
study.figure("evolution")

# %% [markdown]
# ## One example, token by token
#
# `mtlab inspect weights:static:0` shows in the terminal which level each word and patch draws on. In Python, a trained
# model gives the weights of any input:

# %%
model = mtlab.load("weights:static:0")
world = PlantedCodes(PlantedCodes.Config())
examples = world.examples("val")[:4]
states = model.encode([world.image(each.image) for each in examples], [each.text for each in examples], record=True)
recorded = states.recorded["image", 0]
print("levels", model.levels["image"])
print("mean contribution of each level:", recorded.contributions.mean((0, 2)).numpy().round(2))
