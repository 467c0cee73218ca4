"""What a plan must know of a cell's data set before anything is trained on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mtlab.errors import UserError, place_errors
from mtlab.resolution.nodes import node_entry, node_options


@dataclass(frozen=True)
class DatasetFacts:
    """What a data set says of itself."""

    examples: Mapping[str, int]  #: split → number of examples
    answer_names: tuple[str, ...]
    offers: frozenset[str]  #: what tasks may need it for

    @property
    def answers(self) -> int:
        """Number of answers."""
        return len(self.answer_names)

    def describe(self, name: str) -> str:
        """Say how many examples there are.

        >>> DatasetFacts({"train": 1000, "val": 60, "test": 60}, (), frozenset()).describe("shapes")
        'shapes: 1,000 train, 60 val, 60 test examples'

        """
        return f"{name}: {', '.join(f'{number:,} {split}' for split, number in self.examples.items())} examples"


def dataset_facts(data: Mapping[str, Any]) -> DatasetFacts:
    """Return the facts of a resolved `data` node, cached.

    Raises:
        UserError: the data set is not there, or is damaged.

    """
    return _facts(json.dumps(data, sort_keys=True))


def split_families(task: Mapping[str, Any], data: Mapping[str, Any], split: str) -> frozenset[str] | None:
    """Return the families of a split's outcomes, by resolved nodes, cached; None where the data are not there."""
    return _families(json.dumps([task, data], sort_keys=True), split)


def clear_facts() -> None:
    """Forget the facts of data sets, as their files may have changed."""
    _facts.cache_clear()
    _families.cache_clear()


@lru_cache(maxsize=256)
def _facts(text: str) -> DatasetFacts:
    data = json.loads(text)
    with place_errors(key="data"):
        cls, options = node_entry("data", data).cls, node_options("data", data)
        return DatasetFacts(dict(cls.sizes(options)), tuple(cls(options).answers), frozenset(cls.offers(options)))


@lru_cache(maxsize=64)
def _families(text: str, split: str) -> frozenset[str] | None:
    task, data = json.loads(text)
    try:
        examples = node_entry("data", data).cls(node_options("data", data)).examples(split)
    except UserError:  # a plan needs no files of the published data sets
        return None
    families: frozenset[str] = node_entry("task", task).cls.families(examples)
    return families


def dataset_remarks(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a user should know of a data set before training on it."""
    return tuple(node_entry("data", data).cls.remarks(node_options("data", data)))
