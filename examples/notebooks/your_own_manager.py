# %% [markdown]
# # Your own manager, from idea to verdict
#
# **The idea.** A tower's useful levels lie close together. So a manager needs no free weight for each level: it may
# learn *where* to look and *how sharply*, a Gaussian over depth. Does this find the level that carries the answer as
# well as free weights (`static`) do?

# %% [markdown]
# ## 1. The class
#
# A manager is a class in a file, because each run has a process of its own, which imports it. This one stands in
# `examples/focus.py`; in a notebook of your own, the cell magic `%%writefile focus.py` writes it.
# `docs/your-own-manager.md` explains the interface line by line.

# %%
import shutil
from pathlib import Path

import mtlab
from mtlab.config.plugins import import_plugins
from mtlab.contract.check import check_manager
from mtlab.report.comparison.verdict import verdict_sentence

source = next(path for path in (Path("focus.py"), Path("../focus.py"), Path("examples/focus.py")) if path.is_file())
if source != Path("focus.py"):
    shutil.copy(source, "focus.py")
print(Path("focus.py").read_text(encoding="utf-8"))

# %% [markdown]
# ## 2. Does it keep the contract?
#
# Shapes, masks, gradients, interventions, saving and loading, and more: what every manager of mtlab keeps. In the
# terminal: `mtlab check focus --plugin focus`.

# %%
import_plugins(["focus"], Path.cwd())
broken = [(result.rule.summary, result.broken) for result in check_manager("focus") if result.verdict == "broken"]
print(broken or "it keeps the contract")

# %% [markdown]
# ## 3. The comparison
#
# Against `static`, the manager with free weights; and against `mean`, which learns none. Same towers, data, steps and
# seeds.

# %%
study = mtlab.Study.load(
    {
        "name": "focus-notebook",
        "why": "Does a Gaussian over depth find the level that carries the answer as well as free weights do?",
        "plugins": ["focus"],
        "set": {
            "text": {"name": "planted", "depth": 6, "planted": 3},
            "vision": {"name": "planted", "depth": 6, "planted": 3},
            "data": {"name": "planted", "train": 2000, "val": 400, "test": 400},
            "model": {"width": 32, "heads": 4, "cross_layers": 1, "mlp_ratio": 1, "dropout": 0.0},
            "train": {"length": {"steps": 300}, "eval_every": 100, "lr_layer_weights": 30},
        },
        "axes": {"manager": ["mean", "static", "focus"]},
        "baseline": {"manager": "static"},
        "seeds": 3,
    }
)
study.run()

# %% [markdown]
# ## 4. Where does it look?

# %%
study.figure("aggregation")

# %% [markdown]
# ## 5. The verdict
#
# Read it as it stands: *no difference shown* is not *no difference*. The column *detects* is the smallest difference
# that so many seeds would show. `seeds: {until: decided, margin: 1}` instead of 3 runs as many as the question needs.

# %%
print(verdict_sentence(study.report()))
study.report()
