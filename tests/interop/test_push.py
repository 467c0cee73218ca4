"""`mtlab push`, by the hub's own client, to a hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from calling import mtlab
from hub_server import TOKEN, Hub, running_hub
from safetensors.torch import save_file

from mtlab.interop.publishing import is_exported


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running_hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bridgetower"}')
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    save_file({"weight": torch.arange(6.0)}, folder / "model.safetensors")
    return folder


def test_an_exported_folder_is_known_by_its_configuration(exported: Path, tmp_path: Path) -> None:
    assert is_exported(exported)
    (exported / "config.json").write_text('{"text": {}}')
    assert not is_exported(exported)
    assert not is_exported(tmp_path / "nothing")


@pytest.mark.slow
def test_a_folder_is_sent_whole_and_privately_and_once(hub: Hub, exported: Path) -> None:
    done = mtlab("push", exported, "mine", **hub.environment)
    assert done.returncode == 0, done.stderr
    assert f"sent 3 files to {hub.environment['HF_ENDPOINT']}/me/mine (private), commit " in done.stdout
    assert hub.visibility == {"me/mine": "private"}
    assert hub.commits == [("me/mine", "mtlab: exported")]
    for file in exported.iterdir():
        assert (hub.folder / "me" / "mine" / file.name).read_bytes() == file.read_bytes()
    assert len(hub.large) == 1  # the weights went as a large file

    again = mtlab("push", exported, "me/mine", **hub.environment)
    assert (again.returncode, len(hub.commits)) == (2, 1)
    assert "me/mine exists already: another name, or --update to add a commit to it" in again.stderr
    (exported / "README.md").write_text("---\nlicense: mit\n---\n# Better\n")
    update = mtlab("push", exported, "me/mine", "--update", "-m", "Better", "--json", **hub.environment)
    assert update.returncode == 0, update.stderr
    assert json.loads(update.stdout)["visibility"] == "as it was"
    assert hub.commits[1] == ("me/mine", "Better")
    assert "# Better" in (hub.folder / "me" / "mine" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("repository", "options", "environment", "expected"),
    [
        ("me/mine", (), {"HF_TOKEN": "hf_wrong"}, "refuses the token: `hf auth login`, or another HF_TOKEN"),
        ("me/mine", (), {"HF_TOKEN": ""}, "no token for the hub: `hf auth login`, or set HF_TOKEN"),
        ("me/mine", (), {"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached ("),
        ("me/mine", (), {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set: nothing can be sent"),
        ("them/mine", ("--public",), {}, "does not let you write to them/mine"),
        ("me/new", ("--update",), {}, "no repository me/new that you may write to: leave out --update"),
        ("me/a b", (), {}, "REPO: 'me/a b': expected OWNER/NAME, as on the hub"),
        ("me/mine..", (), {}, "mine.."),
    ],
)
def test_what_cannot_be_sent_is_one_line(
    hub: Hub,
    exported: Path,
    tmp_path: Path,
    repository: str,
    options: tuple[str, ...],
    environment: dict[str, str],
    expected: str,
) -> None:
    known = hub.environment | {"HF_HOME": str(tmp_path / "home")} | environment
    done = mtlab("push", exported, repository, *options, **known)
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2
    assert expected in told
    assert TOKEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not hub.commits


@pytest.mark.slow
def test_an_upload_that_breaks_off_says_how_it_goes_on(hub: Hub, exported: Path) -> None:
    hub.full = True
    done = mtlab("push", exported, "me/mine", **hub.environment)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("the repository is there, and empty: again with --update")
