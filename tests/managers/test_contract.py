"""Every registered manager keeps the contract."""

from mtlab.managers.base import MANAGERS
from mtlab.testing import ManagerContract

MORE = {
    "bridge": [{"experts": [3, 1, -1]}, {"experts": {"text": [1, 1, 1], "image": [2, 3, 1]}}],
    "bridge_cross_attention": [{"heads": 1}],
    "last": [{"expert": 1}],
    "static": [{"noise": 1.0}, {"temperature": 0.5, "weight": "scalar"}],
    "static_all": [
        {"noise": 1.0},
        {"previous": "own_softmax", "weight": "scalar", "temperature_cross": 0.5},
        {"previous": "joint_softmax", "weight": "scalar", "noise": 1.0},
    ],
    "adaptive": [{"noise": 1.0}, {"query": "own", "weight": "scalar"}],
    "cross_attention": [{"heads": 4}, {"query": "fused", "mask_query": False}],
    "concat_attention": [{"heads": 4, "first": "top"}],
    "sparse": [{"noise": 1.0}, {"k": 9, "query": "own"}],  # k = 1 may choose otherwise in half precision, at a tie
}

for _entry in MANAGERS:
    _name = f"Test{_entry.name.title().replace('_', '')}"
    globals()[_name] = type(_name, (ManagerContract,), {"manager": _entry.name, "more": MORE.get(_entry.name, ())})
