"""The recipe with every manager forgets none of them."""

from pathlib import Path

from mtlab.config import yaml
from mtlab.config.load import recipe_folders
from mtlab.config.nodes import lookup_options
from mtlab.managers.base import MANAGERS

NODES = yaml.read(Path(recipe_folders()[0]) / "managers_all.yaml").data["axes"]["manager"]


def test_names_every_manager_of_ours() -> None:
    assert {node["name"] for node in NODES} == {entry.name for entry in MANAGERS if entry.is_builtin}


def test_every_row_has_options_that_its_manager_takes_and_a_label_of_its_own() -> None:
    for number, node in enumerate(NODES):
        lookup_options(
            MANAGERS, {key: value for key, value in node.items() if key != "label"}, f"axes.manager[{number}]"
        )
    assert len({node["label"] for node in NODES}) == len(NODES)
