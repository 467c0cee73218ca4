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
    "residual_static": [{"noise": 0.01}, {"noise": 0.01, "weight": "scalar"}],
    "residual_adaptive": [{"noise": 0.01}, {"query": "cross", "noise": 0.01, "weight": "scalar"}],
    "deepstack": [{"start": 0}, {"interval": 2, "experts": [-1, 1]}],
    "attention_residual": [
        {"gate_sources": True, "null_source": True, "gate": "vector"},
        {"mode": "delta_block", "null_source": True, "gate": "scalar"},
        {"entropy": 0.1, "recency": 3.0},
        {"mode": "block", "experts": "top", "block": 1},
    ],
    "depth_weighted": [{"dilation": 2, "period": 3}, {"start": 1e-4}],
    "mudd": [{"hidden": 8}],
    "tgif": [{"guide": -1, "entropy": 0.1}],
    "igva": [{"balance": 0.02, "hidden": 8, "blocks": 1}, {"groups": [[1, 2], [3]], "base": 1}],
    "dense_connector": [{"groups": [[1], [-2, 3]]}],
    "mmfuser": [{"heads": 2, "points": 1}],
    "sparse": [{"noise": 1.0}, {"k": 9, "query": "own"}],  # k = 1 may choose otherwise in half precision, at a tie
}

#: Compiled to machine code here, a minute; runs of others are trained so elsewhere, and the graphs of all are compared.
TO_MACHINE_CODE = {"attention_residual"}

for _entry in MANAGERS:
    _name = f"Test{_entry.name.title().replace('_', '')}"
    _parts: dict[str, object] = {"manager": _entry.name, "more": MORE.get(_entry.name, ())}
    if _entry.name not in TO_MACHINE_CODE:
        _parts["test_whole_encoder_compiles_by_inductor"] = None
    globals()[_name] = type(_name, (ManagerContract,), _parts)
