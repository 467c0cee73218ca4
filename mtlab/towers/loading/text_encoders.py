"""Finding, building and loading transformers text encoders.

A model is a folder: the user's own, a hub model's in the local cache, or a package's.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtlab.disk_cache import files_digest
from mtlab.errors import UserError, one_line
from mtlab.towers.base import TowerInfo, Vocabulary
from mtlab.towers.loading import hub
from mtlab.towers.loading.descriptions import load_or_describe

NO_CODE = {"trust_remote_code": False}  #: code in a model's folder is never run; else transformers asks the terminal


def find(model: str) -> Path | None:
    """Return the folder of a model if it is on this disk: a path, or a hub name in the hub's cache.

    Raises:
        UserError: it looks like a path, and is none.

    """
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.exists():
        raise UserError("is no model folder (it has no config.json)", file=folder, key="model")
    if model.startswith((".", "/", "~")):
        raise UserError("no such model folder", file=folder, key="model")
    cached = hub.find_cached(model)
    return cached if cached is not None and (cached / "config.json").is_file() else None


def find_or_download(model: str, *, weights: bool) -> Path:
    """Return the model's folder, downloaded from the hub if necessary, with or without the weights.

    Raises:
        UserError: no such model, or the hub cannot be reached.

    """
    folder = find(model)
    own = folder is not None and folder == Path(model).expanduser()
    if folder is not None and (not weights or hub.has_all_weights(folder)) and (own or has_tokeniser(folder)):
        return folder
    if folder is not None and own:
        problem = (
            "holds not all files of weights that its index names" if hub.weight_files(folder) else "holds no weights"
        )
        raise UserError(f"the model folder {problem} (*.safetensors or *.bin)", file=folder, key="model")
    return hub.download(model, weights=weights)


def digest(folder: Path, *, weights: bool) -> str | None:
    """Hash configuration, tokeniser and weights; None if the weights are not there."""
    described = files_digest(_text_files(folder))
    if not weights:
        return f"random on {described}"
    return files_digest([*_text_files(folder), *hub.weight_files(folder)]) if hub.has_all_weights(folder) else None


def describe(folder: Path, max_length: int) -> TowerInfo:
    """Describe depth, widths and tokens from configuration and tokeniser.

    Raises:
        UserError: it is not a text encoder, or `max_length` is more than it has positions for.

    """
    key = {"files": files_digest(_text_files(folder)), "max_length": max_length}
    return load_or_describe("transformers", key, ["transformers"], lambda: _describe(folder, max_length))


def build(folder: Path) -> Any:
    """Build a model with random weights, from torch's own generator, in evaluation mode.

    Raises:
        UserError: not a model that transformers can build, or none for texts.

    """
    config = _read_config(folder)
    with explain_errors(folder):
        return build_architecture(config)


def build_architecture(config: Any) -> Any:
    """Build the model of a transformers configuration, with random weights, in evaluation mode."""
    with quiet():
        return _encoder(_auto_class(config).from_config(config, dtype=torch.float32)).eval()


def load(folder: Path) -> Any:
    """Build a model with the folder's weights, in evaluation mode.

    Raises:
        UserError: the weights are damaged, hold code, or are another model's.

    """
    config = _read_config(folder)
    with torch.device("meta"), explain_errors(folder), quiet():
        kind = type(_auto_class(config).from_config(config))
    options = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind).parameters else {}
    with explain_errors(folder), quiet():
        network, report = kind.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, **NO_CODE, **options
        )
    missing = sorted(report["missing_keys"]) + [str(key) for key in report["mismatched_keys"]]
    if missing:
        raise UserError(
            f"the weights do not fit the model: {len(missing)} tensors are missing ({', '.join(missing[:3])})",
            file=folder,
            key="model",
        )
    return _encoder(network).eval()


def load_tokeniser(folder: Path) -> Any:
    """Load the tokeniser, set to pad on the right (most encoders go wrong with padding on the left).

    Raises:
        UserError: there is none, or transformers cannot read it.

    """
    from transformers import AutoTokenizer

    if not has_tokeniser(folder):
        raise UserError("holds no tokeniser: copy the files of the model's own here", file=folder, key="model")
    with explain_errors(folder), quiet():
        tokeniser = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="right", **NO_CODE)
    if tokeniser.pad_token is None:  # padding is masked: any token will do
        tokeniser.pad_token = tokeniser.eos_token
    return tokeniser


def has_tokeniser(folder: Path) -> bool:
    """Return True if the folder has the files of a tokeniser."""
    return any((folder / name).is_file() for name in _TOKENISER_FILES)


def _text_files(folder: Path) -> list[Path]:
    return sorted({path for pattern in hub.TEXT_FILES for path in folder.glob(pattern) if path.is_file()})


def _describe(folder: Path, max_length: int) -> TowerInfo:
    config = _read_config(folder)
    with torch.device("meta"):
        network = build(folder)
    usable = _positions(network, config)
    if usable is not None and max_length > usable:
        raise UserError(f"{max_length} is more than the {usable} tokens that the model takes", key="max_length")
    size = getattr(config, "vocab_size", None)
    vocabulary = describe_vocabulary(load_tokeniser(folder), size or 0) if has_tokeniser(folder) else None
    return TowerInfo(
        depth=config.num_hidden_layers,
        widths=(config.hidden_size,) * config.num_hidden_layers,
        tokens=max_length,
        class_token=_starts_with_class_token(folder, config),
        positions=True,
        vocabulary=size,
        mask_token=vocabulary is not None,
        word_pieces=vocabulary is not None and bool(vocabulary.continuing),
    )


def _starts_with_class_token(folder: Path, config: Any) -> bool:
    """Ask the tokeniser; a folder without one is an imported checkpoint's tower, or a test's."""
    if not has_tokeniser(folder):
        return config.model_type in ("bert", "roberta")
    tokeniser = load_tokeniser(folder)
    return tokeniser.cls_token_id is not None and tokeniser("a").input_ids[0] == tokeniser.cls_token_id


def describe_vocabulary(tokeniser: Any, size: int) -> Vocabulary | None:
    """Describe the ids of a tokeniser, below `size`; None if it has no mask token.

    Only WordPiece (BERT and its relatives) marks tokens that continue a word, by `##`. In byte-level BPE (RoBERTa) a
    token `##` is Markdown's.
    """
    if tokeniser.mask_token_id is None:
        return None
    marked = tokeniser.convert_tokens_to_string(["a", "##b"]) == "ab"
    continuing = (number for token, number in tokeniser.get_vocab().items() if marked and token.startswith("##"))
    return Vocabulary(
        size=size,
        mask=tokeniser.mask_token_id,
        special=frozenset(tokeniser.all_special_ids),
        continuing=frozenset(continuing),
    )


def token_strings(
    folder: Path, texts: Sequence[str], max_length: int | None = None, *, special: bool = True
) -> list[list[str]] | None:
    """Return the tokens of texts as strings, special ones included or not; None without a `tokenizer.json`.

    Uses the library `tokenizers`, because transformers takes seconds to import. A token is shown as in the text, a
    special token by its name.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    tokeniser = Tokenizer.from_file(str(file))
    tokeniser.no_padding()
    if max_length is None:
        tokeniser.no_truncation()
    else:
        tokeniser.enable_truncation(max_length)
    return [
        [text[start:end].strip() or token for token, (start, end) in zip(encoded.tokens, encoded.offsets, strict=True)]
        for text, encoded in zip(texts, tokeniser.encode_batch(list(texts), add_special_tokens=special), strict=True)
    ]


_TOKENISER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)


#: Families without an attention mask in some layer: what a text is padded with would change its tokens.
_READ_PADDING = ("convbert", "fnet")


def _positions(network: nn.Module, config: Any) -> int | None:
    """Count the positions for tokens; RoBERTa and its relatives reserve the first rows for padding."""
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            padding = module.padding_idx
            return module.num_embeddings - (0 if padding is None else padding + 1)
    limit = getattr(config, "max_position_embeddings", None)
    return limit if limit and limit > 0 else None


def _read_config(folder: Path) -> Any:
    from transformers import AutoConfig

    with explain_errors(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, **NO_CODE)
    if not isinstance(getattr(config, "hidden_size", None), int) or not hasattr(config, "num_hidden_layers"):
        raise UserError(f"a model of type {config.model_type!r} is no text encoder", file=folder, key="model")
    if config.model_type in _READ_PADDING:
        told = f"{config.model_type} mixes padding into the tokens of shorter texts: choose another model"
        raise UserError(told, file=folder, key="model")
    return config


def _auto_class(config: Any) -> Any:
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

    # For T5 and its relatives this is the encoder without the decoder's weights.
    return AutoModelForTextEncoding if config.model_type in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES else AutoModel


def _encoder(network: Any) -> Any:
    whole = network.config.is_encoder_decoder and hasattr(network, "decoder")
    if (
        getattr(network, "pooler", None) is not None
        and "add_pooling_layer" in inspect.signature(type(network)).parameters
    ):
        network.pooler = None  # a head on the last level, of no use here
    return network.get_encoder() if whole else network


@contextmanager
def explain_errors(folder: Path) -> Iterator[None]:
    """Turn what transformers raises about a folder within the block into a `UserError`."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except pickle.UnpicklingError as error:
        raise UserError(
            "the weights hold code, or are damaged, and are refused: save them as safetensors", file=folder, key="model"
        ) from error
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise _unreadable_error(error, folder) from error
    except (SafetensorError, StrictDataclassError) as error:
        raise _unreadable_error(error, folder) from error


def _unreadable_error(error: Exception, folder: Path) -> UserError:
    if "trust_remote_code" in str(error):
        return UserError(
            "the model needs code of its own, which is not run: take one of transformers", file=folder, key="model"
        )
    return UserError(f"transformers cannot read the model: {one_line(error, 200)}", file=folder, key="model")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars and loading reports; problems are raised as errors."""
    from transformers.utils import logging

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
