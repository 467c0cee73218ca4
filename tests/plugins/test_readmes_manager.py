"""The manager in the README is a whole file that keeps the contract."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_readmes_manager_keeps_the_contract(tmp_path: Path) -> None:
    ((name, text),) = re.findall(r'```python title="(\w+)\.py"\n(.*?)```', README, re.DOTALL)
    (tmp_path / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "mtlab", "check", name, "--plugin", name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
