"""The heads of published checkpoints, and the tasks of ours that have them."""

from __future__ import annotations

from collections.abc import Iterable

#: A task of ours → published head → the name of our module for it.
HEADS: dict[str, dict[str, str]] = {
    "pretraining": {"mlm": "task.mlm", "itm": "task.itm", "itc": "task.itc"},
    "retrieval": {"itm": "task.itm", "itc": "task.itc"},
    "question_answering": {"vqa": "task.head"},
    "entailment": {"snli": "task.head"},
    "reasoning": {"nlvr2": "task.head"},
}
#: Our tasks of one classifier → the published head.
CLASSIFIERS = {"question_answering": "vqa", "entailment": "snli", "reasoning": "nlvr2"}
TEMPERATURE = "temperature"  #: of the contrastive head; in published checkpoints outside of it

#: Start of a published head's weight names → start within our head; of two for one of ours, the first is written.
_WITHIN = {
    "mlm_score.transform.dense.": "dense.",
    "mlm_score.transform.LayerNorm.": "norm.",
    "mlm_score.decoder.": "decoder.",
    "mlm_score.bias": "bias",
    "itm_score.fc.": "linear.",
    "cross_modal_itc_text_head.fc.": "text.",
    "cross_modal_itc_image_head.fc.": "image.",
    "itc_text_head.fc.": "text.",  # microsoft/BridgeTower
    "itc_image_head.fc.": "image.",
}
_STARTS = {"mlm": "mlm_score.", "itm": "itm_score.", "itc": "cross_modal_itc_"}


def names_in_head(names: tuple[str, ...]) -> dict[str, str]:
    """Map a published head's weight names to those within our head: `mlm_score.transform.dense.bias` → `dense.bias`."""
    found = {}
    for name in names:
        known = next((start for start in _WITHIN if name.startswith(start)), None)
        found[name] = name.partition(".")[2] if known is None else _WITHIN[known] + name.removeprefix(known)
    single = len(names) == 2  # a classifier of one layer, perhaps in a `Sequential` there, never here
    return {name: own.removeprefix("0.") if single else own for name, own in found.items()}


def published_names(kind: str, ours: Iterable[str]) -> tuple[str, ...]:
    """Return the published names of the weights within our head; the inverse of `names_in_head`."""
    own = [name for name in ours if name != TEMPERATURE]
    if kind in CLASSIFIERS.values():
        single = len(own) == 2
        return tuple(f"{kind}_classifier.{'0.' if single else ''}{name}" for name in own)
    starts = {inner: start for start, inner in reversed(_WITHIN.items()) if start.startswith(_STARTS[kind])}
    return tuple(
        next(start + name.removeprefix(inner) for inner, start in starts.items() if name.startswith(inner))
        for name in own
    )
