"""The tidy table of layers: in Python, as text, CSV and JSON, and from the command line."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import recordings
from calling import here

from mtlab.recording import reader
from mtlab.report import frame, layer_table
from mtlab.report.formats import layer_tables
from mtlab.report.recordings import StudyRun
from mtlab.report.sync.tables import layers_table
from mtlab.runs.results import write_result

LEVELS = recordings.LEVELS


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    found = []
    for variant in ("bridge", "adaptive"):
        for seed in range(2):
            folder = tmp_path / variant / str(seed)
            recordings.write_layers(folder, seed, pattern=len(variant))
            layers = reader.read_layers(folder)
            assert isinstance(layers, reader.Layers)
            if variant == "bridge":
                layers.values["by_removal/text/1"] = np.ones(())  # type: ignore[index]
            metrics = {"val/accuracy": 0.7, "val/accuracy/count": 0.6}
            result = {"metrics": metrics, "interventions": recordings.interventions(seed=seed)}
            worth = reader.read_worth(result)
            assert isinstance(worth, reader.Worth)
            source = StudyRun(variant, seed, f"{variant}/s{seed}")
            found += layer_table.layer_rows(source, layers, worth)
    return found


def test_trackers_get_a_column_for_each_family(tmp_path: Path) -> None:
    found, worths = {}, {}
    for seed, families in enumerate((True, False)):
        recordings.write_layers(tmp_path / str(seed), seed)
        layers, source = reader.read_layers(tmp_path / str(seed)), StudyRun("bridge", seed, f"bridge/s{seed}")
        result = {"metrics": {"val/accuracy": 0.7}, "interventions": recordings.interventions(seed=seed)}
        worth = reader.read_worth(result)
        assert isinstance(layers, reader.Layers)
        assert isinstance(worth, reader.Worth)
        found[source] = layers
        worths |= {source: worth} if families else {}
    table = layers_table(found, worths)
    assert table is not None
    assert table.columns == (*layer_table.COLUMNS, "worth/colour", "worth/count")
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_a_table_without_rows_has_its_header() -> None:
    assert layer_tables.render_text("trial", [], "val/accuracy", "csv").strip() == ",".join(layer_table.COLUMNS)


def test_a_row_for_every_level_and_previous_state(rows: list[dict[str, Any]]) -> None:
    assert list(rows[0]) == [*layer_table.COLUMNS, "worth/colour", "worth/count"]
    assert len(rows) == 2 * 2 * sum(3 * len(levels) + 2 for levels in LEVELS.values())
    place = ("bridge", 1, "text", 2)
    one = [row for row in rows if (row["variant"], row["seed"], row["modality"], row["layer"]) == place]
    assert [(row["source"], row["level"]) for row in one] == [
        *((f"level {level}", level) for level in LEVELS["text"]),
        ("previous 1", None),
    ]
    assert sum(row["contribution"] for row in one) == pytest.approx(1)
    assert one[-1]["weight"] == pytest.approx(1)
    assert one[-1]["worth"] is None
    measured, level = recordings.interventions(seed=1)["text"], str(LEVELS["text"][0])
    assert one[0]["worth"] == pytest.approx(0.7 - measured["without"][level])
    assert one[0]["worth/count"] == pytest.approx(0.6 - measured["families"][level]["count"])
    assert (one[0]["worth/colour"], one[-1]["worth/count"]) == (None, None)
    assert {row["by_removal"] for row in one} == {True}
    assert not any(row["by_removal"] for row in rows if row["variant"] == "adaptive")


def test_text_tables_are_means_over_seeds(rows: list[dict[str, Any]]) -> None:
    table = layer_tables.modality_tables(rows, "val/accuracy")["text"]
    assert table.header == ("variant", "layer", "4", "5", "6", "prev.")
    assert [line[1].text for line in table.lines] == ["layer 1", "layer 2", "layer 3", "worth"] * 2
    second = [cell.text for cell in table.lines[1]]
    own = [r for r in rows if (r["variant"], r["modality"], r["layer"]) == ("bridge", "text", 2)]
    means = [np.mean([row["contribution"] for row in own if row["level"] == level]) for level in LEVELS["text"]]
    assert second[2:] == [*(f"{mean:.2f}" for mean in means), "0.40"]
    assert sum(cell.best for cell in table.lines[1]) == 1
    worth = np.mean([r["worth"] for r in own if r["level"] == 4])
    assert table.lines[3][2].text == f"{100 * worth:+.1f}"
    text = layer_tables.render_text("trial", rows, "val/accuracy", "md")
    assert "| bridge | layer 1 |" in text
    assert "No sum, so by removal of each state: bridge." in text
    assert "n = 2 seeds" in text


def test_worth_may_be_missing(rows: list[dict[str, Any]]) -> None:
    plain = [row | {"worth": None} for row in rows]
    assert "worth" not in [line[1].text for line in layer_tables.modality_tables(plain, "val/accuracy")["image"].lines]
    assert "`mtlab intervene RUN`" in layer_tables.caption(plain, "val/accuracy")
    assert layer_tables.NOTHING in layer_tables.render_text("trial", [], "val/accuracy", "md")


@pytest.fixture
def finished(fabric: Any) -> Any:
    """A study of two variants, recorded."""
    fabric.store.study("trial").mkdir(parents=True)
    fabric.store.write_plan("trial", fabric.plan(["bridge", "static"], seeds=2))
    for cell in ("bridge", "static"):
        for seed in range(2):
            run = fabric.finish(cell, seed, 0.7)
            recordings.write_layers(run, seed)
            result = json.loads((run / "result.json").read_text())
            write_result(run, result | {"interventions": recordings.interventions(seed=seed)})
    return fabric


def test_a_frame_of_a_store(finished: Any) -> None:
    found = layer_table.layers(finished.store.root)
    assert found.columns == ["study", "run", *layer_table.COLUMNS, "worth/colour", "worth/count"]
    assert found.schema["worth"] == pl.Float64
    assert found.schema["level"] == pl.Int64
    sums = found.group_by("run", "modality", "layer").agg(pl.col("contribution").sum())
    assert sums["contribution"].to_list() == pytest.approx([1.0] * sums.height)
    empty = layer_table.layer_frame([])
    assert (empty.height, empty.schema) == (0, found.drop("worth/colour", "worth/count").schema)


def test_frames_become_pandas(finished: Any) -> None:
    pytest.importorskip("pyarrow")
    runs, layers = frame.frame(finished.store.root).to_pandas(), layer_table.layers(finished.store.root).to_pandas()
    assert len(runs) == 4
    assert layers.groupby(["run", "modality", "layer"])["contribution"].sum().round(4).eq(1).all()


def test_the_command_prints_and_writes_it(
    finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = here(monkeypatch, capsys, "report", "trial", "--by", "layer", "--store", str(finished.store.root))
    code, out, _ = report()
    assert code == 0
    assert "prev." in out
    assert "--by layer --format csv" in out
    lines = list(csv.DictReader(io.StringIO(report("--format", "csv")[1])))
    assert list(lines[0]) == [*layer_table.COLUMNS, "worth/colour", "worth/count"]
    data = json.loads(report("--format", "json")[1])
    assert (data["format"], data["metric"], len(data["rows"])) == (1, "val/accuracy", len(lines))
    path = tmp_path / "layers.md"
    assert report("--out", str(path))[1].strip() == f"written to {path}"
    assert path.read_text(encoding="utf-8").startswith("# trial: layers")
    code, _, error = report("--format", "tex")
    assert (code, "it has md, csv, json" in error) == (2, True)
