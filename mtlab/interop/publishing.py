"""`mtlab push`: send an exported model to Hugging Face's hub, by its own client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab.errors import UserError
from mtlab.time_limit import call_within
from mtlab.towers.loading import hub

_NAME = re.compile(r"(?:[\w.-]+/)?[\w.-]+")  #: of a repository; the hub's client checks the rest
COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Published:
    """What was sent, and where."""

    url: str
    repository: str  #: OWNER/NAME
    visibility: str  #: "private" or "public"; of an existing repository "as it was"
    commit: str
    files: dict[str, int]  #: name → bytes, of all files that are there as in the folder


def is_exported(folder: Path) -> bool:
    """Return whether a folder is a model as transformers stores it: a configuration that says so, and weights."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config and any(folder.glob("*.safetensors"))


def find_repository(repository: str, *, update: bool) -> str:
    """Return the full name of the repository to send to, after asking the hub who we are: before anything is exported.

    Args:
        repository: OWNER/NAME, or a name among the user's own.
        update: it exists, and may be written to.

    Raises:
        UserError: not a name of a repository; no token, or the hub refuses it or cannot be reached; the repository
            exists, or, with `update`, does not.

    """
    from huggingface_hub import HfApi, get_token

    if not _NAME.fullmatch(repository):
        raise UserError(f"{repository!r}: expected OWNER/NAME, as on the hub", file=COMMAND_LINE, key="REPO")
    if get_token() is None:
        raise UserError("no token for the hub: `hf auth login`, or set HF_TOKEN", file=COMMAND_LINE)
    api: Any = HfApi()
    with _explain(repository):
        owner = call_within(hub.TIMEOUT_SECONDS, api.whoami)["name"]
        name = repository if "/" in repository else f"{owner}/{repository}"
        exists = call_within(hub.TIMEOUT_SECONDS, lambda: api.repo_exists(name))
    if exists and not update:
        raise UserError(f"{name} exists already: another name, or --update to add a commit to it", file=COMMAND_LINE)
    if update and not exists:
        raise UserError(f"no repository {name} that you may write to: leave out --update", file=COMMAND_LINE)
    return name


def publish(folder: Path, repository: str, message: str, *, public: bool, update: bool) -> Published:
    """Make a repository, unless it is to be updated, and send it the files of a folder in a commit.

    Args:
        folder: an exported model.
        repository: OWNER/NAME, from `find_repository`.
        message: of the commit.
        public: of a new repository: may everybody read it?
        update: add to a repository that exists; its files of other names stay.

    Raises:
        UserError: the hub refuses or cannot be reached.

    """
    from huggingface_hub import HfApi

    api: Any = HfApi()
    if not update:
        with _explain(repository):
            api.create_repo(repository, private=not public)
    with _explain(repository, "" if update else "; the repository is there, and empty: again with --update"):
        done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    sent = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    made = "public" if public else "private"
    return Published(
        f"{api.endpoint}/{repository}", repository, "as it was" if update else made, str(done.oid)[:10], sent
    )


@contextmanager
def _explain(repository: str, then: str = "") -> Iterator[None]:
    """Raise what the hub's client raises as an error of the user, without the headers of requests."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    hub_name = constants.ENDPOINT
    try:
        yield
    except HFValidationError as error:
        raise UserError(_first_line(error), file=COMMAND_LINE, key="REPO") from None
    except OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set: nothing can be sent", file=COMMAND_LINE) from None
    except HfHubHTTPError as error:
        raise UserError(_refusal(error.response.status_code, repository, hub_name, error) + then) from None
    except Exception as error:  # its HTTP library is not part of its interface
        raise UserError(f"{hub_name} cannot be reached ({_first_line(error)}){then}") from None


def _refusal(code: int, repository: str, hub_name: str, error: Exception) -> str:
    if code == 401:
        return f"{hub_name} refuses the token: `hf auth login`, or another HF_TOKEN"
    if code == 403:
        return f"{hub_name} does not let you write to {repository}: has the token the right to write, and is it yours?"
    if code == 409:
        return f"{repository} exists already: another name, or --update to add a commit to it"
    return f"{hub_name} refuses ({code}): {_first_line(error)}"


def _first_line(error: Exception) -> str:
    said = str(getattr(error, "server_message", None) or error).strip() or type(error).__name__
    return " ".join(said.splitlines()[0].split())
