"""TensorBoard as a sink: event files, written by its own writer, which needs neither torch nor TensorFlow.

A run that is started again is written anew, as all of its steps are logged again. The package is imported when the
first run is sent.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

from mtlab import files
from mtlab.config.hashing import digest
from mtlab.config.load import flatten
from mtlab.config.options import option
from mtlab.tracking.base import Receipt, Sink, TrackedRun, TrackerFigure, TrackerMedia, TrackerTable, register_tracker
from mtlab.tracking.final_numbers import final_numbers

LONGEST = 200  #: bytes of a run's name in that of its folder; file systems take 255
OWNER = "mtlab-store.txt"  #: in a run's folder: which store's it is, where several may share the place
FOLDER = "tensorboard"  #: of event files, below the study's, unless the study names another


@register_tracker("tensorboard")
class TensorBoardSink(Sink):
    """TensorBoard: event files in the study's folder or another, while runs train."""

    name = "TensorBoard"
    package = "tensorboard"
    install = "mtlab[tensorboard]"
    options: TensorBoardSink.Config

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Settings of TensorBoard."""

        folder: str | None = option(
            None, "folder of the event files; the study gets its own below it; null: in the store, with the study"
        )
        images: bool | None = option(
            None, "write figures as images; needs `mtlab[images]` and Chrome or Chromium; null: where they are there"
        )

    @property
    def live(self) -> bool:
        """Steps are written when they are logged."""
        return True

    @property
    def root(self) -> Path:
        """The folder to give to `tensorboard --logdir`."""
        if self.options.folder is None:
            return self.folder / FOLDER
        return Path(self.options.folder).expanduser() / self.folder.name

    def tracker(self) -> TensorBoardTracker:
        """Make a tracker for a run."""
        return TensorBoardTracker(self.root, None if self.options.folder is None else self.owner)

    def holds(self, receipt: Receipt) -> bool:
        """Return whether the event files of a run are still there."""
        return "folder" in receipt and (self.root / str(receipt["folder"])).is_dir()

    def place(self, receipt: Receipt) -> str:  # noqa: ARG002 - all runs of a study lie together
        """Return the folder of the study."""
        return f"in {self.root}"


class TensorBoardTracker:
    """The TensorBoard tracker of one run, see `Tracker`."""

    def __init__(self, root: Path, owner: str | None = None) -> None:
        self.root = root
        self.owner = owner  #: None: no other store writes here
        self.folder = ""
        self.about: TrackedRun | None = None
        self.writer: Any = None
        self.next = self.last = 0
        self.time = 0.0  #: of the last step, in seconds since 1970

    def start(self, about: TrackedRun) -> None:
        """Begin the event file of a run, in place of an earlier one, but never of another store's."""
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.about, self.time = about, about.started or time.time()
        self.folder = _folder_name(about)
        if self.owner is not None and _owner(self.root / self.folder) not in (None, self.owner):
            self.folder = f"{self.folder} {digest([self.owner, about.id])[:6]}"
        folder = self.root / self.folder
        with files.explain_disk_errors(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if self.owner is not None:
                files.write_text(folder / OWNER, self.owner)
            self.writer = EventFileWriter(str(folder), flush_secs=2)

    def params(self, values: Mapping[str, Any]) -> None:
        """Write the configuration as text, and what varies in the study for the tab HParams."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        assert self.about is not None
        written = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=120)
        self._write([_text("configuration", f"```yaml\n{written}```")], 0)
        varied = {
            **flatten(values.get("axes", {})),
            **{key: values[key] for key in ("variant", "seed") if key in values},
        }
        if varied:
            plain = {
                key: value if isinstance(value, int | float | str) else str(value) for key, value in varied.items()
            }
            self._write_summary(hparams_pb(plain, trial_id=self.about.id, start_time_secs=self.time), 0)

    def log(self, step: int, metrics: Mapping[str, float], figures: Mapping[str, TrackerMedia]) -> None:
        """Write a step, unless it was written before."""
        assert self.about is not None
        if step < self.next:
            return
        self.time = self.about.time_of(metrics, self.time)
        values = [_scalar(name, value) for name, value in metrics.items()]
        for name, shown in figures.items():
            if isinstance(shown, TrackerTable):
                values.append(_text(name, _to_markdown(shown)))
            elif shown.png is not None:
                values.append(_image(f"figures/{name}", shown))
        self._write(values, step)
        self.last, self.next = step, step + 1

    def close(self, summary: Mapping[str, Any], files: Mapping[str, Path], *, failed: bool = False) -> Receipt:  # noqa: ARG002
        """Write the final numbers, but for those of the layers, which stand in the table of layers."""
        from tensorboard.plugins.hparams import plugin_data_pb2
        from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
        from tensorboard.plugins.hparams.summary_v2 import _summary_pb

        assert self.about is not None
        numbers = {name: value for name, value in final_numbers(summary).items() if not name.startswith("layers/")}
        self._write([_scalar(name, value) for name, value in numbers.items()], self.last)
        words = [f"{name}: {value}" for name, value in summary.items() if isinstance(value, str)]
        if words:
            self._write([_text("notes", "\n\n".join(words))], self.last)
        ended = plugin_data_pb2.SessionEndInfo(status=2 if failed else 1, end_time_secs=self.time)
        data = plugin_data_pb2.HParamsPluginData(session_end_info=ended)
        self._write_summary(_summary_pb(SESSION_END_INFO_TAG, data), self.last)
        self.writer.close()
        return {"folder": self.folder}

    def _write(self, values: list[Any], step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write_summary(Summary(value=values), step)

    def _write_summary(self, summary: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=self.time, step=step, summary=summary))


def _folder_name(about: TrackedRun) -> str:
    """Return a name for a run's folder, which TensorBoard shows: `static, seed 0`; with digits if it is changed."""
    name = re.sub(r"[^\w ,.=+×-]", "_", about.name)
    name = name.encode()[:LONGEST].decode(errors="ignore").strip(". ")
    return name if name == about.name else f"{name} {about.id[:6]}"


def _owner(folder: Path) -> str | None:
    """Return which store's run lies in a folder; None: nobody's, or one that does not say."""
    return files.read_text(folder / OWNER) if (folder / OWNER).is_file() else None


def _scalar(name: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=name, simple_value=value)


def _text(name: str, text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
    return Summary.Value(tag=name, tensor=tensor, metadata=create_summary_metadata(name, ""))


def _image(name: str, figure: TrackerFigure) -> Any:
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    assert figure.png is not None
    with Image.open(BytesIO(figure.png)) as image:
        width, height = image.size
    encoded = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=figure.png)
    return Summary.Value(tag=name, image=encoded)


def _to_markdown(table: TrackerTable) -> str:
    rows = [table.columns, ["---"] * len(table.columns), *([_cell(value) for value in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|")
