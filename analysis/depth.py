# %% [markdown]
# # Does the way of aggregating layers matter more, the fewer cross-modal layers there are?
#
# **Question.** A bridge reads one level of each tower for each cross-modal layer. A manager reads several levels at
# every cross-modal layer. So a manager may have more to add where there are few cross-modal layers.
#
# **Claim to test.** `static` is better than the bridge on the best levels that were found with one cross-modal layer,
# and the difference becomes smaller with two, three and six.
#
# Run the study first: `mtlab run depth`.

# %%
import plotly.graph_objects as go
import polars as pl

import mtlab
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.figures import theme

pl.Config.set_tbl_rows(-1)
study = mtlab.open_study("depth")
print(study.report.why)
print(verdict_sentence(study.report))

# %% [markdown]
# ## The figure of the claim
#
# The mean over seeds at each number of cross-modal layers, with its interval. A bridge reads other levels at each
# number of layers, so its points are not joined. Points that meet on the right support the claim; that differences
# become smaller is shown here, and not tested.

# %%
curves = go.Figure()
managers = list(dict.fromkeys(row.axes["manager"]["name"] for row in study.report.rows))
styles = theme.assign_styles(managers)
for manager in managers:
    rows = [row for row in study.report.rows if row.axes["manager"]["name"] == manager and row.mean is not None]
    means = [100 * row.mean.mean for row in rows]
    ends = [[100 * end for end in row.mean.interval or (row.mean.mean, row.mean.mean)] for row in rows]
    curves.add_scatter(
        x=[row.axes["model.cross_layers"] for row in rows],
        y=means,
        error_y={
            "symmetric": False,
            "array": [high - mean for mean, (_, high) in zip(means, ends, strict=True)],
            "arrayminus": [mean - low for mean, (low, _) in zip(means, ends, strict=True)],
        },
        mode="markers" if manager == "bridge" else "lines+markers",
        marker={"color": styles[manager].colour, "size": 8},
        name=manager,
    )
curves.update_xaxes(title="cross-modal layers", dtick=1)
curves.update_yaxes(title=f"{study.report.metric}, points")
bridges = [
    row.label.partition(" · ")[0].removeprefix("bridge ")
    for row in study.report.rows
    if row.axes["manager"]["name"] == "bridge"
]
caption = (
    f"Mean over {study.report.rows[0].n} seeds with its {100 * (1 - study.report.alpha):g}% interval. "
    f"The bridges read image levels {'; '.join(bridges)}."
)
figure = theme.finish(curves, "Accuracy by the number of cross-modal layers", caption)
figure

# %% [markdown]
# ## The table of the claim
#
# The difference to `static` with the same number of cross-modal layers, on the same seeds. `static` is the baseline of
# each column and has none.

# %%
table = study.table.pivot("axis/model.cross_layers", index="axis/manager", values="difference")
print(table)

# %%
study.report
