# %% [markdown]
# # Does an adaptive manager choose by what is asked, and is that worth anything?
#
# **Question.** The questions of `layered` are of four families, and each asks for other levels of the vision tower.
# An adaptive manager may give each question weights of its own. A static one must serve all families with the same
# weights. If adapting pays anywhere, it should pay here.
#
# **Claim to test.** `adaptive` has a higher test accuracy than `static`, it draws on other levels for other families,
# and it loses accuracy where a question is given the weights of another one.
#
# Run the sweep first: `mtlab sweep managers`. It takes about an hour on two cores.

# %%
import polars as pl
from tqdm.auto import tqdm

import mtlab
from mtlab.inference.intervention import load_run
from mtlab.managers.interventions import example_mean, other_example, token_mean, uniform
from mtlab.report.figures.layers.by_family import plot_levels_by_family
from mtlab.runs.find_run import find_run
from mtlab.statistics.intervals import mean_interval
from mtlab.tasks.evaluation import evaluate
from mtlab.training.intervention_metrics import with_weights

pl.Config.set_tbl_rows(-1)
NAME = "sweep-managers"  # or "sweep-managers-vit": `mtlab sweep managers_vit`
study = mtlab.open_study(f"{NAME}-final")  # the study of the tuned variants
print(study.report.why)

# %% [markdown]
# ## Is `adaptive` better than `static`, on any family?
#
# Test accuracy on the same fresh seeds: mean difference and its 95 % interval over seeds, not corrected.

# %%
runs = study.runs.filter(pl.col("label").is_in(["adaptive", "static"]), pl.col("state") == "done")
metrics = [name for name in runs.columns if name == "test/accuracy" or name.startswith("test/accuracy/")]
pairs = runs.filter(label="adaptive").join(runs.filter(label="static"), on="seed", suffix=" of static")


def told(metric: str, values: list[float]) -> dict[str, object]:
    """Write mean and interval of differences over seeds, in points."""
    found = mean_interval(values)
    interval = found.interval or (None, None)
    points = [None if each is None else round(100 * each, 1) for each in (found.mean, *interval)]
    return dict(zip(("of", "seeds", "difference", "low", "high"), (metric, len(values), *points), strict=True))


differences = pl.DataFrame([told(name, (pairs[name] - pairs[f"{name} of static"]).to_list()) for name in metrics])
print(differences)

# %% [markdown]
# ## Does it draw on other levels for other questions?
#
# The weights at the image's tokens and at the words, by family of questions, mean over seeds. Lines that lie on each
# other would mean: what is asked makes no difference.

# %%
figure = plot_levels_by_family(study.tokens.found, "adaptive", "weights")
figure

# %% [markdown]
# ## What is it worth that it does?
#
# The finished runs are validated again with other weights, without training:
#
# - `own`: nothing is changed;
# - `mean of tokens`: all tokens of an example have their mean;
# - `mean of examples`: all examples of a batch have the same, which is what a static manager could do;
# - `another question's`: the image's tokens have the weights of the next question, often about the same picture;
# - `uniform`: all levels have the same.

# %%
CHANGES = {
    "own": ((), token_mean),
    "mean of tokens": (("text", "image"), token_mean),
    "mean of examples": (("text", "image"), example_mean),
    "another question's": (("image",), lambda _: other_example),
    "uniform": (("text", "image"), lambda _: uniform),
}
measured = []
for run in tqdm([run for run in study.tokens.found if run.label == "adaptive"], desc="runs"):
    loaded = load_run(find_run(run.run, study.store.root))
    for change, (modalities, intervention) in CHANGES.items():
        context = with_weights(loaded.model, loaded.runtime, modalities, intervention)
        found = evaluate(context, loaded.loader, loaded.batch).metrics("val")
        measured += [{"seed": run.seed, "weights": change, "of": name, "value": found[name]} for name in found]
values = pl.DataFrame(measured).filter(pl.col("of").str.starts_with("val/accuracy"))

# %% [markdown]
# ## The table of the claim
#
# Points of validation accuracy that each change loses, with the 95 % interval over seeds.

# %%
own = values.filter(weights="own").drop("weights")
losses = values.filter(pl.col("weights") != "own").join(own, on=["seed", "of"], suffix=" own")
table = pl.DataFrame(
    [
        {"weights": change, **told(str(metric), (rows["value own"] - rows["value"]).to_list())}
        for (change, metric), rows in losses.group_by(["weights", "of"], maintain_order=True)
    ]
).rename({"difference": "loses"})
print(table)
