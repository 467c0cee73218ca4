# %% [markdown]
# # Does an adaptive manager choose by what is asked, and is that worth anything?
#
# **Question.** The questions of `layered` are of four families, and each asks for other levels of the vision tower.
# An adaptive manager may give each question weights of its own. A static one must serve all families with the same
# weights. If adapting pays anywhere, it should pay here.
#
# **Claim to test.** `adaptive` has a higher test accuracy than `static`, it draws on other levels for other families,
# and it loses accuracy where a question is given the weights of another one. (When this was written, the accuracies at
# the end of training were known, and the rest was not.)
#
# Run the sweep first: `mtlab sweep managers`. It takes about an hour on two cores.

# %%
from collections.abc import Iterator
from itertools import pairwise

import polars as pl
import torch
from tqdm.auto import tqdm

import mtlab
from mtlab.inference.intervention import LoadedRun, load_run
from mtlab.managers.interventions import replacement, token_mean
from mtlab.model.forward import ForwardContext
from mtlab.report.figures.layers.by_family import plot_levels_by_family
from mtlab.report.recordings import StudyRun
from mtlab.runs.find_run import find_run
from mtlab.statistics.intervals import mean_interval
from mtlab.tasks.evaluation import evaluate
from mtlab.training.intervention_metrics import swapped_context

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


def told(values: list[float]) -> dict[str, object]:
    """Write mean and interval of differences over seeds, in points."""
    found = mean_interval(values)
    interval = found.interval or (None, None)
    points = [None if each is None else round(100 * each, 2) for each in (found.mean, *interval)]
    return dict(zip(("seeds", "mean", "low", "high"), (len(values), *points), strict=True))


differences = pl.DataFrame(
    [{"of": name, **told((pairs[name] - pairs[f"{name} of static"]).to_list())} for name in metrics]
)
print(differences)

# %% [markdown]
# ## Does it learn sooner?
#
# The difference in validation accuracy, step by step.

# %%
histories = pl.DataFrame(
    [
        {"label": run.label, "seed": run.seed, "step": row["step"], "value": row["val/accuracy"]}
        for run, rows in study.histories.found.items()
        for row in rows
        if run.label in ("adaptive", "static") and row.get("val/accuracy") is not None
    ]
)
paired = histories.filter(label="adaptive").join(histories.filter(label="static"), on=["seed", "step"])
ahead = pl.DataFrame(
    [
        {"step": step, **told((rows["value"] - rows["value_right"]).to_list())}
        for (step,), rows in paired.sort("step").group_by(["step"], maintain_order=True)
    ]
)
print(ahead)

# %% [markdown]
# ## The figure of the claim: does it draw on other levels for other questions?
#
# The weights at the image's tokens and at the words, by family of questions, mean over seeds. Lines that lie on each
# other would mean: what is asked makes no difference. The first cross-modal layer has nothing to ask with.

# %%
figure = plot_levels_by_family(study.tokens.found, "adaptive", "weights")
figure

# %% [markdown]
# ## What is it worth that it does?
#
# The finished runs of `adaptive` are validated again, without training. From the second cross-modal layer on, the
# levels of the image are weighed otherwise; what the text draws on stays.
#
# - `mean of tokens`: all tokens of an image have their mean;
# - `mean of questions`: all questions have the mean of the validation questions whose weights the run recorded;
# - `same family`: each question has the weights of another one of its family, about another picture;
# - `same picture`: each question has the weights of one of another family about the same picture.


# %%
def partners(loaded: LoadedRun) -> dict[str, list[int]]:
    """Find for each question one of its family about another picture, and one of another family about its own."""
    examples = loaded.loader.examples

    def ring(rows: list[int]) -> Iterator[tuple[int, int]]:
        return pairwise([*rows, rows[0]])

    found: dict[str, list[int]] = {}
    for name, of in (("same family", "family"), ("same picture", "image")):
        groups: dict[str, list[int]] = {}
        for row, example in enumerate(examples):
            groups.setdefault(getattr(example, of), []).append(row)
        following = dict(pair for rows in groups.values() for pair in ring(rows))
        found[name] = [following[row] for row in range(len(examples))]
    return found


def contexts(loaded: LoadedRun, run: StudyRun) -> Iterator[tuple[str, ForwardContext]]:
    """Yield each way of weighing the levels of the image."""
    model, runtime, layers = loaded.model, loaded.runtime, study.layers.found[run]
    keys = [key for key, _ in model.encoder.managers() if key[0] == "image" and key[1] > 0]
    means = {key: torch.tensor(layers.experts("weights", *key)).view(1, -1, 1, 1) for key in keys}
    yield "own", ForwardContext(model, runtime)
    yield "mean of tokens", ForwardContext(model, runtime, intervene=lambda _: dict.fromkeys(keys, token_mean()))
    yield (
        "mean of questions",
        ForwardContext(model, runtime, intervene=lambda _: {key: replacement(mean) for key, mean in means.items()}),
    )
    for name, rows in partners(loaded).items():
        yield (
            name,
            swapped_context(
                model,
                model,
                runtime,
                {"image"},
                lambda batch, rows=rows: loaded.loader.batch([rows[r] for r in batch.rows]),
            ),
        )


measured = []
for run in tqdm([run for run in study.tokens.found if run.label == "adaptive"], desc="runs"):
    loaded = load_run(find_run(run.run, study.store.root))
    for name, context in contexts(loaded, run):
        values = evaluate(context, loaded.loader, loaded.batch).metrics("val")
        measured += [{"seed": run.seed, "weights": name, "of": metric, "value": values[metric]} for metric in values]
measured = pl.DataFrame(measured).filter(pl.col("of").str.starts_with("val/accuracy"))

# %% [markdown]
# ## The table of the claim
#
# Points of validation accuracy that each change loses, with the 95 % interval over seeds.

# %%
own = measured.filter(weights="own").drop("weights")
losses = measured.filter(pl.col("weights") != "own").join(own, on=["seed", "of"], suffix=" own")
table = pl.DataFrame(
    [
        {"weights": change, "of": metric, **told((rows["value own"] - rows["value"]).to_list())}
        for (change, metric), rows in losses.group_by(["weights", "of"], maintain_order=True)
    ]
)
print(table)
