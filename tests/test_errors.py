import pytest

from mtlab.errors import first_line, one_line


@pytest.mark.parametrize(
    ("message", "alone", "with_kind"),
    [
        ("short", "short", "ValueError: short"),
        ("  two\n\tlines ", "two lines", "ValueError: two lines"),
        ("", "ValueError", "ValueError"),
        (" \n", "ValueError", "ValueError"),
    ],
)
def test_an_errors_message_on_one_line(message: str, alone: str, with_kind: str) -> None:
    assert one_line(ValueError(message)) == alone
    assert one_line(ValueError(message), kind=True) == with_kind


def test_a_long_message_is_cut_but_not_the_type_of_its_error() -> None:
    assert one_line(ValueError("a" * 50), 10) == "a" * 10
    assert one_line(ValueError("a" * 50), 4, kind=True) == "ValueError: aaaa"
    assert one_line(ValueError(), 4) == "ValueError"


def test_the_first_line_that_says_something() -> None:
    assert first_line(ValueError("\n  the server is gone \nhint: none")) == "the server is gone"
    assert first_line(ValueError("the server is gone"), 10) == "the server"
    assert first_line(ValueError(" \n")) == "ValueError"
