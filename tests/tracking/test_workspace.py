"""A workspace of W&B that compares variants layer by layer, saved to a server on loopback by W&B's own package."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from calling import here
from served import Server

from mtlab.report.sync.workspace import finished_metrics
from mtlab.runs.store import Store

Serve = Callable[..., Server]


def views(server: Server) -> list[dict[str, Any]]:
    held: dict[str, dict[str, Any]] = json.loads(server.path.read_text())["views"]
    return list(held.values())


def test_numbers_are_in_the_order_of_levels(store: Store) -> None:
    names = finished_metrics(store, store.plan("tracked"))
    assert {"test/accuracy", "val/accuracy", "layers/contribution/image/layer 2/level 3"} <= set(names)
    levels = [name for name in names if name.startswith("contribution/image/")]
    assert levels == [f"contribution/image/level {level}" for level in (1, 2, 3)] + levels[3:]


@pytest.mark.slow
def test_it_shows_every_layer_and_is_renewed_and_not_doubled(
    store: Store, serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server, call = serve(), here(monkeypatch, capsys, "track", "workspace")
    code, out, err = call("tracked", "--store", store.root)
    assert code == 0, err
    (view,) = views(server)
    assert out.startswith(f"saved: {server.url}/me/layers?nw=")
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("me", "layers", "mtlab: tracked")
    section = view["spec"]["section"]
    panels = {panel["config"].get("chartTitle"): panel for each in section["panelBankConfig"]["sections"]
              for panel in each["panels"]}  # fmt: skip
    for modality, levels in (("text", 2), ("image", 3)):
        for layer in (1, 2):
            drawn = panels[f"{modality}, layer {layer}: contribution"]
            named = [name.rpartition("/")[2] for name in drawn["config"]["metrics"]]
            assert named[:levels] == [f"level {level}" for level in range(1, levels + 1)]
            assert drawn["config"]["groupBy"] == "variant.value"
    assert panels["test/accuracy"]["viewType"] == "Bar Chart"
    assert panels["val/accuracy"]["config"]["xAxis"] == "step"
    (runs,) = section["runSets"]
    assert [each["value"] for each in runs["filters"]["filters"]] == [["tracked"]]

    assert call("tracked", "--store", store.root) == (0, out, "")  # the same address
    assert len(views(server)) == 1
    assert call("tracked", "--project", "others", "--store", store.root)[0] == 0
    assert [each["projectName"] for each in views(server)] == ["layers", "others"]


@pytest.mark.slow
def test_a_wrong_key_is_one_line(
    store: Store, serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve("refuse")
    code, _, err = here(monkeypatch, capsys, "track", "workspace")("tracked", "--store", store.root)
    assert (code, err) == (2, "error: W&B refuses the key\n")
