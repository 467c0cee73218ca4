"""The structure of the package, as `make architecture` measures it; and that it measures what it says."""

import ast
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import architecture
import pytest
from draw_rooms import Room, draw

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def modules() -> dict[str, architecture.Module]:
    return architecture.read(ROOT)


def package(root: Path, files: dict[str, str]) -> dict[str, architecture.Module]:
    for name, text in files.items():
        path = root / "mtlab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return architecture.read(root)


def test_rooms_are_no_ring_and_no_folder_is_crowded(modules: dict[str, architecture.Module]) -> None:
    assert len(architecture.largest_ring(architecture.room_imports(modules))) == 1
    assert architecture.crowded_folders(modules, ROOT) == {}


def test_a_public_class_is_defined_once(modules: dict[str, architecture.Module]) -> None:
    assert architecture.repeated_classes(modules) == {}


def test_a_manager_and_a_step_take_few_files(modules: dict[str, architecture.Module]) -> None:
    assert len(architecture.step_files(modules)) <= 4


def test_the_page_and_the_picture_show_every_room(modules: dict[str, architecture.Module]) -> None:
    rooms = set(architecture.room_imports(modules))
    picture = ElementTree.parse(ROOT / "docs/architecture.svg").iter("{http://www.w3.org/2000/svg}text")
    assert rooms <= {text.text for text in picture}
    page = (ROOT / "docs/architecture.md").read_text()
    assert [room for room in sorted(rooms) if f"`{room}" not in page] == []


def test_lazy_and_type_only_imports_close_a_ring(tmp_path: Path) -> None:
    found = package(
        tmp_path,
        {
            "__init__.py": "",
            "one/__init__.py": "",
            "one/a.py": "from mtlab import two\n\n\nclass Same: ...\n",
            "two.py": "def f():\n    from mtlab import three\n\n\nclass Same: ...\n",
            "three.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from mtlab.one.a import Same\n",
        },
    )
    assert architecture.largest_ring(architecture.room_imports(found)) == ["one", "three", "two"]
    assert len(architecture.largest_ring(architecture.room_imports(found, top_level=True))) == 1
    assert architecture.repeated_classes(found) == {"Same": ["mtlab.one.a", "mtlab.two"]}
    with pytest.raises(ValueError, match="one → two → three → one"):
        draw([Room(name, 1, 1) for name in ("one", "two", "three")], architecture.room_imports(found))


def test_a_lazy_import_has_a_reason_if_it_keeps_a_library_out(tmp_path: Path) -> None:
    found = package(
        tmp_path,
        {
            "__init__.py": "",
            "heavy.py": "import torch\n",
            "light.py": "import json\n",
            "user.py": "def f():\n    from mtlab import heavy\n    from mtlab import light\n",
        },
    )
    quick, others = architecture.lazy_imports(found)
    assert [[each.target for _, each in group] for group in (quick, others)] == [["mtlab.heavy"], ["mtlab.light"]]


def test_arrows_that_follow_from_others_are_left_out() -> None:
    rooms = [Room(name, 2, 10) for name in "abc"]
    drawn = ElementTree.fromstring(draw(rooms, {"a": "bc", "b": "c"}))
    arrows = [path for path in drawn.iter("{http://www.w3.org/2000/svg}path") if path.get("marker-end")]
    assert len(arrows) == 2


def test_scripts_have_no_name_of_an_installed_package() -> None:
    """Else libraries that ask whether the package is there find the script: its folder is the first of the path."""
    installed = {*metadata.packages_distributions(), *sys.stdlib_module_names}
    scripts = [path for folder in ("tests/helpers", "tools", "benchmarks") for path in (ROOT / folder).iterdir()]
    assert [f"{path.parent.name}/{path.name}" for path in scripts if path.stem in installed] == []


def test_every_text_file_is_read_and_written_with_a_named_encoding() -> None:
    """Else it would be that of the locale: a study file in UTF-8 could not be read under another one."""
    unnamed = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "mtlab").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _opens_text(node) and all(key.arg != "encoding" for key in node.keywords)
    ]
    assert unnamed == []


def _opens_text(call: ast.Call) -> bool:
    """Return whether a call reads or writes a text file, or the output of a program as text."""
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    owner = getattr(call.func.value, "id", "") if isinstance(call.func, ast.Attribute) else ""
    if method in ("read_text", "write_text"):
        return owner != "files"
    if method == "open" or getattr(call.func, "id", "") == "open":
        modes = [word.value for word in call.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        return any(set(mode) <= set("rwax+t") for mode in modes)
    return any(key.arg == "text" and getattr(key.value, "value", None) is True for key in call.keywords)
