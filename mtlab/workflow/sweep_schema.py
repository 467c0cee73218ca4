"""The JSON Schema of sweep files, generated from what checks them: `mtlab schema sweep`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mtlab.config.json_schema import DRAFT, Schema, any_of, dataclass_schema
from mtlab.studies.seeds import SequentialSeeds
from mtlab.sweeps.algorithms import PRUNERS, SAMPLERS
from mtlab.sweeps.space import DEFAULT
from mtlab.sweeps.spec import Constraint, FinalRules, Objective, SeedRules, SweepKeys
from mtlab.workflow.study_schema import BASE, INTEGER, with_shared_keys

NULL: Schema = {"type": "null"}


def sweep_schema() -> Schema:
    """Return the schema of sweep files."""
    schema = with_shared_keys(dataclass_schema(SweepKeys), "over")
    keys = schema["properties"]
    final = dataclass_schema(FinalRules)
    final["properties"]["seeds"] = any_of(INTEGER, dataclass_schema(SequentialSeeds))
    objective = any_of({"type": "string"}, dataclass_schema(Objective))
    point = any_of({"const": DEFAULT}, {"type": "object"})
    described: dict[str, Schema] = {
        "space": any_of({"const": DEFAULT}, {"type": "object", "additionalProperties": _distribution()}),
        "objective": any_of(objective, {"type": "array", "items": objective}, NULL),
        "constraints": any_of({"type": "object", "additionalProperties": dataclass_schema(Constraint)}, NULL),
        "start_from": any_of(point, {"type": "array", "items": point}, NULL),
        "seeds": any_of(INTEGER, dataclass_schema(SeedRules)),
        "sampler": _named(SAMPLERS, required=()),
        "pruner": _named(PRUNERS, required=("name",)),
    }
    for key, part in described.items():
        keys[key] = {"description": keys[key].get("description", "")} | part
    keys["kind"] = {"const": "sweep", "description": "sweep: a search of equal budget for each variant"}
    keys["finally"] = any_of(
        {"const": "none"}, NULL, final, description="how the best of each variant is evaluated, on fresh seeds"
    )
    keys["base"] = BASE
    return {"$schema": DRAFT, "title": "mtlab sweep", **schema, "required": ["kind"]}


def _distribution() -> Schema:
    """Return the schema of a parameter of the space."""
    bounds: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    properties: dict[str, Schema] = {
        "float": bounds,
        "int": {**bounds, "items": {"type": "integer"}},
        "choice": {"type": "array", "minItems": 1},
        "log": {"type": "boolean", "description": "search on a logarithmic scale"},
        "step": {"type": "number", "exclusiveMinimum": 0, "description": "only multiples of it, from the lower bound"},
        "when": {"type": "object", "description": "setting → value: only cells with it have the parameter"},
        "unless": {"type": "object", "description": "setting → value: cells with it lack the parameter"},
    }
    one = [{"required": [kind]} for kind in ("float", "int", "choice")]
    return any_of(
        {"const": DEFAULT},
        {"type": "object", "properties": properties, "additionalProperties": False, "oneOf": one},
    )


def _named(names: Iterable[str], *, required: Sequence[str]) -> Schema:
    name: Schema = {"enum": list(names)}
    return any_of(name, {"type": "object", "properties": {"name": name}, "required": list(required)})
