"""Equal steps beside equal FLOPs, from the YAML to the table: real runs."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from calling import Command


@pytest.mark.slow
def test_equal_steps_and_equal_flops_from_file_to_table(
    study: Callable[..., Path], mtlab: Command, tmp_path: Path
) -> None:
    text = (
        "axes:\n  manager: [bridge, static]\n"
        "  train.length: [{steps: 20, label: equal steps}, {flops: FLOPS, label: equal FLOPs}]\n"
        "baseline: {manager: bridge}\nseeds: 2\n"
        "published: [{match: 'static · length equal steps', test/accuracy: 81.3, source: 'A et al., table 1'}]"
    )
    store = tmp_path / "store"
    planned = json.loads(mtlab("plan", study(text.replace("FLOPS", "1e8")), "--store", store, "--json").stdout)
    flops = next(run["cost"]["flops"] for run in planned["runs"] if run["label"] == "bridge · length equal steps")
    file = study(text.replace("FLOPS", repr(flops)))
    run = mtlab("run", file, "--store", store)
    assert run.returncode == 0, run.stderr
    assert "6 runs" in run.stdout
    report = json.loads(mtlab("report", file, "--store", store, "--json").stdout)
    assert [block["label"] for block in report["side_by_side"]["blocks"]] == ["equal steps", "equal FLOPs"]
    used = {row["label"]: (row["cost"]["steps"], row["n"]) for row in report["rows"]}
    assert used["bridge · length equal steps"] == used["bridge · length equal FLOPs"] == (20, 2)
    assert used["static · length equal FLOPs"][0] < 20
    assert report["published_rows"][0]["n"] == 2
    assert report["runs"] == {"asked": 6, "done": 6}
    lines = list(csv.DictReader(io.StringIO(mtlab("report", file, "--store", store, "--format", "csv").stdout)))
    assert [line["block"] for line in lines] == ["equal steps", "equal FLOPs"] * 2
    shown = mtlab("report", file, "--store", store, COLUMNS="100").stdout
    assert "equal steps" in shown
    assert "81.3" in shown
