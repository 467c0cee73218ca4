"""`UserError`: wrong input of the user, in one line that says what is wrong, where, and what would be right.

`one_line` and `first_line` bring the messages of other libraries into that form.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """Wrong input of the user. The command line prints it on one line, without a traceback, and exits with 2.

    Args:
        problem: what is wrong, and what would be right.
        file: the file that it stands in.
        key: the dotted path of the setting, as the user would write it on the command line.
        line: the line of `file`, from 1.

    """

    def __init__(
        self, problem: str, *, file: Path | str | None = None, key: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = file
        self.key = key
        self.line = line

    def __str__(self) -> str:
        place = str(self.file) if self.file is not None else ""
        if place and self.line is not None:
            place += f":{self.line}"
        return ": ".join(" ".join(part.split()) for part in (place, self.key or "", self.problem) if part)

    def at(self, *, file: Path | str | None = None, key: str | None = None) -> UserError:
        """Return the same error with a place added; what is known already stays."""
        known_key = ".".join(part for part in (key, self.key) if part) or None
        return type(self)(
            self.problem,
            file=self.file if self.file is not None else file,
            key=known_key,
            line=self.line,
        )


def missing_extra(package: str, extra: str, *, of: str = "", key: str | None = None) -> UserError:
    """Return the error that a package is missing, which an extra of mtlab brings.

    >>> str(missing_extra("peft", "lora", key="text.lora_rank"))
    "text.lora_rank: needs the package peft: pip install 'mtlab[lora]'"

    Args:
        package: its name on PyPI.
        extra: the extra.
        of: what needs it; without it the key says so.
        key: as of `UserError`.

    """
    return UserError(f"{of} needs the package {package}: pip install 'mtlab[{extra}]'".lstrip(), key=key)


def one_line(error: BaseException, limit: int | None = None, *, kind: bool = False) -> str:
    """Return an error's message on one line; of an empty message, the name of the error's type.

    >>> one_line(ValueError("no   such row"), kind=True)
    'ValueError: no such row'

    Args:
        error: the error.
        limit: the most letters of the message that are kept; None: all.
        kind: put the type's name before the message.

    """
    name, message = type(error).__name__, " ".join(str(error).split())[:limit]
    return f"{name}: {message}" if kind and message else message or name


def first_line(error: BaseException, limit: int | None = None) -> str:
    """Return the first line of an error's message that says something, else the name of the error's type.

    For errors whose further lines are advice or a dump.

    Args:
        error: the error.
        limit: the most letters that are kept; None: all.

    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line[:limit] for line in lines if line), type(error).__name__)


@contextmanager
def place_errors(*, file: Path | str | None = None, key: str | None = None) -> Iterator[None]:
    """Add a place to errors raised within the block, see `UserError.at`."""
    try:
        yield
    except UserError as error:
        raise error.at(file=file, key=key) from None


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a hint at what `name` may have meant: the nearest of `known`, or all of them.

    >>> nearest("adptive", ["adaptive", "static"])
    "did you mean 'adaptive'?"
    >>> nearest("zzz", ["adaptive", "static"])
    'known: adaptive, static'
    """
    options = sorted(set(known))
    match = closest(name, options)
    if match is not None:
        return f"did you mean {match!r}?"
    return f"known: {', '.join(options)}" if options else "none is known"


def closest(name: object, known: Iterable[str]) -> str | None:
    """Return that of `known` which `name` may have meant; None: none is near."""
    return next(iter(difflib.get_close_matches(str(name), sorted(set(known)), n=1)), None)
