"""Every registered manager keeps the contract."""

from mtlab.managers.base import MANAGERS
from mtlab.testing import ManagerContract

MORE = {
    "bridge": [{"experts": [3, 1, -1]}, {"experts": {"text": [1, 1, 1], "image": [2, 3, 1]}}],
    "last": [{"expert": 1}],
    "static": [{"noise": 1.0}, {"temperature": 0.5, "weight": "scalar"}],
    "adaptive": [{"noise": 1.0}, {"query": "own", "weight": "scalar"}],
    "cross_attention": [{"heads": 4}],
}

for _entry in MANAGERS:
    _name = f"Test{_entry.name.title().replace('_', '')}"
    globals()[_name] = type(_name, (ManagerContract,), {"manager": _entry.name, "more": MORE.get(_entry.name, ())})
