"""Whatever lies in the folder: a data set, or one line that says what is wrong with it."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from question_folders import row, write_folder

from mtlab.data.base import SPLITS
from mtlab.data.datasets.questions import Questions
from mtlab.data.datasets.questions_file import KEYS, read_questions_file
from mtlab.errors import UserError

special = st.sampled_from(["0.png", "./1.png", "a/../../0.png", "/0.png", "a/b", "\ud800", "a\nb", "a\0", " ", "val"])
texts = st.text(max_size=12) | special
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
#: a sound line with one key changed: most of them get far
changed = st.tuples(st.sampled_from(KEYS), special | values).map(lambda pair: row(0) | dict([pair]))
objects = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, values | texts))
lines = (changed | objects | values).map(json.dumps).map(str.encode) | st.binary(max_size=40)
contents = st.lists(lines, max_size=3).map(b"\n".join) | st.binary(max_size=200)


@pytest.fixture(scope="module")
def folder() -> Any:
    with tempfile.TemporaryDirectory() as path:
        yield write_folder(Path(path))


def one_line(error: UserError, start: Path) -> None:
    told = str(error)
    assert told.startswith(str(start))
    assert "\n" not in told
    told.encode()  # can be printed


@given(st.sampled_from(KEYS), special | values)
def test_any_value_is_read_or_refused(folder: Path, key: str, value: Any) -> None:
    read_or_refused(folder, json.dumps(row(0) | {key: value}).encode())


@given(contents)
def test_any_file_is_read_or_refused(folder: Path, content: bytes) -> None:
    read_or_refused(folder, content)


def read_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "other.jsonl"
    path.write_bytes(content)
    try:
        questions = list(read_questions_file(path))
    except UserError as error:
        one_line(error, path)
        return
    assert questions
    for question in questions:
        for text in (question.id, question.text, question.answer, question.image, question.family):
            assert text == text.strip()
            assert text.encode()
        assert not question.image.startswith("/")
        assert ".." not in question.image.split("/")


@given(contents, st.sampled_from(SPLITS))
def test_any_folder_is_a_data_set_or_refused(folder: Path, content: bytes, split: str) -> None:
    file = folder / f"{split}.jsonl"
    sound = file.read_bytes()
    file.write_bytes(sound + content)
    try:
        config = Questions.Config(folder=str(folder))
        sizes = Questions.sizes(config)
        Questions.digest(config)
        data = Questions(config)
        for each in SPLITS:
            examples = data.examples(each)
            assert len(examples) == sizes[each] > 0
            assert all(data.image(example.image).shape == (8, 8, 3) for example in examples)
            assert all(-(each != "train") <= example.target < len(data.answers) for example in examples)
    except UserError as error:
        one_line(error, folder)
    finally:
        file.write_bytes(sound)
