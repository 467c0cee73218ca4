"""Which source a finished run is told to come from."""

import shutil
import subprocess
import sys
from pathlib import Path

import mtlab
from mtlab.resolution.training_code import TRAINING_CODE, training_code_digest

PACKAGE = Path(mtlab.__file__).parent
#: What a worker imports that decides nothing about examples, levels and gradients: settings, files, and the cache of
#: what towers gave.
ELSEWHERE = (
    *(
        "config/",
        "runs/",
        "data/",
        "__",
        "checksums.py",
        "disk_cache.py",
        "errors.py",
        "files.py",
        "plugin_errors.py",
        "time_limit.py",
    ),
    *("processes.py", "units.py"),  # the latter formats lines of the log
    "resolution/",  # questions asked of settings, and the digest itself
    "statistics/",  # floors of metrics: reported, not trained on
    "recording/",  # looks on: tests/training/test_recording.py holds it to change no result
)


def test_the_digest_of_the_engine_covers_all_that_trains() -> None:
    script = "import sys, mtlab.training.worker; print(*(m.__file__ for n, m in sys.modules.items() if 'mtlab' in n))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    files = [Path(file) for file in done.stdout.split()]
    imported = {str(file.relative_to(PACKAGE)) for file in files if file.is_relative_to(PACKAGE)}
    covered = {name for name in imported if name.startswith(TRAINING_CODE)}
    assert all((PACKAGE / part).exists() for part in TRAINING_CODE)
    assert {name for name in imported - covered if not name.startswith(ELSEWHERE)} == set()


def test_the_digest_of_the_engine_covers_worlds_and_towers(tmp_path: Path) -> None:
    """Else the report of runs by other code of a world or a tower would be silent."""
    found = {training_code_digest()}
    script = "from mtlab.resolution.training_code import training_code_digest as digest; print(digest())"
    shutil.copytree(PACKAGE, tmp_path / "mtlab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("data/worlds/shapes.py", "data/transforms/policies.py", "data/cache/extract.py", "towers/vision.py"):
        with (tmp_path / "mtlab" / name).open("a") as file:
            file.write("# changed\n")
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
        found.add(done.stdout.strip())
    assert len(found) == 5


def test_the_lock_file_of_an_unsaved_buffer_is_no_source(tmp_path: Path) -> None:
    """Emacs keeps a symbolic link to no file beside each file that is being changed."""
    shutil.copytree(PACKAGE, tmp_path / "mtlab", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "mtlab" / "managers" / ".#base.py").symlink_to("user@host.1234:5678")
    script = (
        "from mtlab.resolution.training_code import training_code_digest as digest\n"
        "from mtlab.launch.local.fork_server import _source_files as sources\n"
        "print(digest(), [path for path in sources() if path.name.startswith('.')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == f"{training_code_digest()} []\n"
