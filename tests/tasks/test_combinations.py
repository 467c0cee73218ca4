"""What goes together is planned, what does not is refused in one line, before anything is computed."""

from typing import Any

import pytest
import toys  # noqa: F401 - registers the data sets

from mtlab.errors import UserError
from mtlab.resolution.identity import cell_identity
from mtlab.resolution.resolve import resolve

TEXT, VISION = {"name": "tiny_text"}, {"name": "tiny_vision"}


def written(task: Any, data: str, choose: str = "val/primary", **more: Any) -> dict[str, Any]:
    train = {"batch": 8} | more.pop("train", {})
    return {
        "text": TEXT,
        "vision": VISION,
        "task": task,
        "data": {"name": data},
        "metrics": {"choose": choose},
        "train": train,
        **more,
    }


MLM = {"name": "pretraining", "objectives": ["mlm"]}
ITC = {"name": "pretraining", "objectives": ["mlm", "itm_itc"]}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (written("retrieval", "toy_votes"), "task.name: data set 'toy_votes' has no captions, which 'retrieval'"),
        (written("reasoning", "toy_captions"), "task.name: data set 'toy_captions' has no pairs of images"),
        (written("question_answering", "toy_pairs"), "task.name: data set 'toy_pairs' has no answers"),
        (written("question_answering", "toy_captions"), "task.name: data set 'toy_captions' has no answers"),
        (written("entailment", "toy_votes"), r"data set 'toy_votes' has 6 \(red, green, blue, white …\)"),
        (
            written("retrieval", "toy_captions", train={"micro_batch": 4}),
            "train.micro_batch: 'retrieval' contrasts 8 pairs with each other: a micro-batch must be as many; set",
        ),
        (written("retrieval", "toy_captions", train={"batch": 1}), "train.batch: 'retrieval' contrasts the pairs of a"),
        (
            written({"name": "pretraining", "objectives": [{"mlm": 1}]}, "toy_captions"),
            "expected a list, or objective → weight, found",
        ),
        (
            written(ITC | {"contrasted": 4}, "toy_captions"),
            "task.contrasted: 'pretraining' contrasts 4 pairs with each other",
        ),
        (
            written(MLM, "toy_captions", text={"name": "planted"}),
            "task.objectives: 'pretraining' hides words, and text tower 'planted' has no mask token",
        ),
        (
            written(MLM | {"whole_words": True}, "toy_captions"),
            "task.whole_words: the tokeniser of text tower 'tiny_text' does not mark which tokens continue a word",
        ),
        (
            written("retrieval", "toy_captions", "val/accuracy"),
            "metrics.choose: task 'retrieval' has no metric 'val/accuracy'",
        ),
        (written("question_answering", "shapes", "val/score"), "'question_answering' has no metric 'val/score'"),
        (written(MLM, "toy_captions", "val/itm_accuracy"), "'pretraining' has no metric 'val/itm_accuracy'"),
        (written("retrieval", "toy_captions", "test/primary"), "only validation data"),
        (written({"name": "pretraining", "objectives": {"mlm": 0}}, "toy_captions"), "mlm: 0 is no weight"),
        (written({"name": "pretraining", "objectives": {"mlm": "x"}}, "toy_captions"), "mlm: 'x' is no weight"),
        (written({"name": "pretraining", "objectives": "mlm"}, "toy_captions"), "expected a list, or objective"),
        (
            written({"name": "pretraining", "objectives": ["mlm", "itm_itx"]}, "toy_captions"),
            "'itm_itx' is not one of mlm, itm, itc, itm_itc; did you mean 'itm_itc'?",
        ),
        (written({"name": "pretraining", "objectives": []}, "toy_captions"), "trains nothing but the towers"),
        (written({"name": "retrieval", "candidates": 5}, "toy_captions"), "task.candidates: 5 is out of range"),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        resolve(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "data", "metric", "family"),
    [
        ("question_answering", "toy_votes", "val/accuracy", "colour"),
        ("entailment", "toy_entailment", "val/accuracy", "yes"),
        ("reasoning", "toy_pairs", "val/accuracy", "colour"),
        ("retrieval", "toy_captions", "val/recall", "image retrieval"),
        (ITC, "toy_captions", "val/accuracy", "striped"),
    ],
)
def test_the_primary_metric_is_the_tasks_own_and_so_is_the_id(task: Any, data: str, metric: str, family: str) -> None:
    found = resolve(written(task, data))
    assert found["metrics"]["choose"] == metric
    assert cell_identity(found).cell == cell_identity(resolve(written(task, data, metric))).cell
    by_family = resolve(written(task, data, f"val/primary/{family}"))
    assert by_family["metrics"]["choose"] == f"{metric}/{family}"


def test_a_circle_of_pairs_is_part_of_the_id_and_a_list_is_what_weighs_one() -> None:
    whole = resolve(written("retrieval", "toy_captions"))
    narrow = resolve(
        written({"name": "retrieval", "contrasted": 4}, "toy_captions", train={"batch": 8, "micro_batch": 4})
    )
    assert cell_identity(whole).cell != cell_identity(narrow).cell
    listed, weighed = (
        resolve(written({"name": "pretraining", "objectives": given}, "toy_captions"))
        for given in (["itm", "mlm"], {"mlm": 1, "itm": 1.0})
    )
    assert (
        cell_identity(listed).cell
        == cell_identity(weighed).cell
        == cell_identity(resolve(written("pretraining", "toy_captions"))).cell
    )
