"""Ids rest on these hashes: they may depend on nothing but the data."""

from mtlab.config.hashing import canonical_json, digest


def test_equal_data_have_one_hash_and_others_another() -> None:
    data = {"train": {"lr": 1e-3, "betas": [0.9, 0.98]}, "manager": {"name": "bridge"}}
    turned = {"manager": {"name": "bridge"}, "train": {"betas": [0.9, 0.98], "lr": 0.001}}
    assert canonical_json(data) == canonical_json(turned)
    assert digest(data) == digest(turned)
    assert digest(data) != digest({**data, "train": {"lr": 1e-3, "betas": [0.98, 0.9]}})
    assert digest({"a": 1}) != digest({"a": "1"})


def test_the_hash_is_the_same_in_every_version() -> None:
    assert digest({"b": [1, None], "a": "ä"}) == "e5c6e910f942"
