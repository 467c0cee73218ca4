"""Strategies that change what is right: nested data in its keys, values and structure, files in their bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

WORDS = [
    "", " ", "~", "null", "true", "no", "0x10", "1_000", "1e400", "-1e400", ".nan", ".inf", "-0", "1e-400", "2**64",
    "9" * 400, "é\u0301", "\u202e", "\ud83d\ude00", "\x00", "\ufeff", "a\nb", "../..", "/etc/passwd", "${x}",
    "${oc.env:HOME}", "${train.lr}", "!!python/object/apply:os.system [id]", "*a", "&a", "<<", "?", "- -", "{", "[",
    "name", "values", "zip",
    "planted", "adaptive", "hub", "timm", "x" * 5000, "top3", "all", "last:", "1,2", "__class__", "__init__",
]  # fmt: skip
NUMBERS = [0, -1, 1, 2, 3, 7, 2**31, 2**63, 2**64, 10**30, 0.5, -0.5, 1e308, 1e-320, float("inf"), float("nan")]

texts = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.integers() | st.floats() | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List every place in nested data."""
    yield at
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*at, key))


def at(data: Any, place: tuple[Any, ...]) -> Any:
    """Look up a place."""
    for key in place:
        data = data[key]
    return data


@st.composite
def changed(draw: st.DrawFn, source: Any, most: int = 3, parts: Sequence[str] = ()) -> Any:
    """Change nested data in one to `most` places: a value, a key, a part taken out, doubled, moved, or wrapped.

    With `parts`, only below these keys.
    """
    data = json.loads(json.dumps(source))
    for _ in range(draw(st.integers(1, most))):
        every = [place for place in list(places(data))[1:] if not parts or place[0] in parts]
        if not every:
            return draw(values)
        place = draw(st.sampled_from(every))
        inside, key = at(data, place[:-1]), place[-1]
        how = draw(st.sampled_from(["value", "value", "value", "key", "gone", "moved", "wrapped", "deep"]))
        if how == "value":
            inside[key] = draw(values)
        elif how == "key" and isinstance(inside, dict):
            inside[draw(texts)] = inside.pop(key)
        elif how == "gone":
            del inside[key]
        elif how == "moved":
            inside[key] = json.loads(json.dumps(at(data, draw(st.sampled_from(every)))))
        elif how == "wrapped":
            inside[key] = draw(st.sampled_from([[inside[key]], {"name": inside[key]}, {"values": inside[key]}]))
        else:
            for _ in range(draw(st.sampled_from([3, 60]))):
                inside[key] = [inside[key]] if draw(st.booleans()) else {"a": inside[key]}
    return data


LAUGHS = b"".join(
    b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1) if name > 97 else b"1"] * 9))
    for name in range(97, 103)
)
PIECES = [
    b"&a ", b"*a", b"<<: *a\n", b"\t", b"\x00", b"\xff", b"\xef\xbb\xbf", b"---\n", b"...\n", b"%YAML 9.9\n", b": ",
    b"#", b"'", b'"', b"|", b">", b"[" * 200, b"{" * 200, b"- " * 200, b"a: &x [*x]\n", b"!!binary x", b"? ",
    b"{a: 1, a: 2}",
    b"!!python/object/apply:os.system [id]", b"\n  ", "é".encode(), b"9" * 5000, LAUGHS,
]  # fmt: skip


@st.composite
def broken(draw: st.DrawFn, source: bytes, pieces: st.SearchStrategy[bytes], most: int = 3) -> bytes:
    """Change the bytes of a file in one to `most` places: cut out, doubled, put in, flipped."""
    data = source
    for _ in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, max(0, len(data) - 1)) | st.integers(0, min(len(data), 400)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 8, 40, 10**9])))
        how = draw(st.sampled_from(["out", "in", "twice", "bit"]))
        if how == "out":
            data = data[:start] + data[end:]
        elif how == "in":
            data = data[:start] + draw(pieces) + data[start:]
        elif how == "twice":
            data = data[:end] + data[start:end][: 10**6] + data[end:]
        elif start < len(data):
            data = data[:start] + bytes([data[start] ^ 1 << draw(st.integers(0, 7))]) + data[start + 1 :]
    return data


bytes_pieces = st.sampled_from(
    [b"\x00" * 8, b"\xff" * 8, b"ustar\x00", b"PK\x03\x04", b"{", b'"', b"../../x"]
) | st.binary(max_size=9)


@st.composite
def changed_tensors(draw: st.DrawFn, source: dict[str, Any], most: int = 3) -> dict[str, Any]:
    """Change one to `most` named tensors: left out, renamed, doubled, of another shape or type, not finite."""
    import torch

    tensors = dict(source)
    for _ in range(draw(st.integers(1, most))):
        name = draw(st.sampled_from(sorted(tensors)))
        tensor = tensors[name]
        how = draw(st.sampled_from(["out", "name", "twice", "flat", "longer", "empty", "nan", *TENSOR_TYPES]))
        if how in ("out", "name"):
            del tensors[name]
        if how in ("name", "twice"):
            tensors[draw(texts.filter(lambda each: "\x00" not in each and "\ud83d" not in each)) or "x"] = (
                tensor.clone()
            )
        elif how == "flat":
            tensors[name] = tensor.reshape(-1).clone()
        elif how == "longer":
            tensors[name] = torch.cat([tensor.reshape(1, *tensor.shape)] * 2, draw(st.integers(0, tensor.ndim)))
        elif how == "empty":
            tensors[name] = tensor.new_zeros(draw(st.sampled_from([(), (0,), (0, 3), (1, 1, 1)])))
        elif how == "nan":
            tensors[name] = torch.full(tensor.shape, torch.nan)
        elif how in TENSOR_TYPES:
            tensors[name] = tensor.to(getattr(torch, how))
    return tensors


TENSOR_TYPES = ["float16", "bfloat16", "float64", "int64", "bool", "complex64", "float8_e4m3fn"]
