"""Wrong plug-ins: each is told in one line by the command that meets it first, and nothing is started."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS, Manager

HEAD = "importing plug-in"

AT_IMPORT = {
    "raises": ("import torch\n", "import torch\n1 / 0\n", "ZeroDivisionError: division by zero (plug_raises.py:5)"),
    "leaves": ("import torch\n", "import torch\nraise SystemExit(3)\n", "SystemExit: 3 (plug_leaves.py:5)"),
    "syntax": ("import torch\n", "import torch as\n", "SyntaxError: invalid syntax (plug_syntax.py, line 4)"),
    "needs": ("import torch\n", "import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
    "twice": (
        '"NAME"',
        '"static"',
        "manager 'static' of plug_twice is registered by mtlab.managers.mixtures.static already",
    ),
    "dashes": ('"NAME"', '"my-manager"', "manager name 'my-manager': use lower-case letters, digits and _"),
    "no_name": ('("NAME")', "", 'use lower-case letters, digits and _; write @register_manager("NAME")'),
    "no_base": ("Mine(Manager)", "Mine(nn.Module)", "must be a subclass of mtlab.managers.base.Manager"),
    "thawed": ("frozen=True", "frozen=False", "Config must be frozen: write @dataclass(frozen=True)"),
    "plain": (
        "@dataclass(frozen=True)\n",
        "\n",
        "Config must be a frozen dataclass: put @dataclass(frozen=True) above",
    ),
    "open": (' = option(1.0, "multiplies the scores", above=0.0)', "", "option sharp of Config needs a default"),
    "sour": ("sharp: float = option(1.0", "sharp: float = option(None", "Config does not work with its defaults"),
    "odd": ("sharp: float = option(1.0", "sharp: torch.Tensor = option(1.0", "Config does not work with its defaults"),
    "method": (
        "    def forward",
        "    def experts_used(self, config, place):\n        return [1]\n\n    def forward",
        "experts_used must be a class method: write @classmethod def experts_used(cls, config, place)",
    ),
    "attribute": (
        "    def forward",
        "    mixes_output = True\n\n    def forward",
        "mixes_output must be a class method: write @classmethod def mixes_output(cls, config, place)",
    ),
    "typed": ("sharp: float", 'sharp: "flaot"', "the types of Config cannot be read: NameError: name 'flaot'"),
}

AT_PLAN = {
    "narrow": (".sum(1)\n", ".sum(1)[..., :1]\n", "hidden has shape [3, 5, 1] (expected [B, L, D], here [3, 5, 16])"),
    "bare": ("Aggregated(hidden, weights.detach())", "hidden", "forward returns Tensor (expected Aggregated(hidden"),
    "heavy": ("weights.detach())", "2 * weights.detach())", "the experts' weights sum to 2 (expected 1 over N"),
    "rows": ("weights.detach())", "weights[:, :1].detach())", "weights have shape [1, 1, 1, 1] (expected [B|1, N + P"),
    "idle": ("self.score =", "self.idle = nn.Parameter(torch.ones(1))\n        self.score =", "idle gets no gradient"),
    "cut": ("experts.states).sum(1)", "experts.states).sum(1).detach()", "no gradient reaches its parameters (score)"),
    "nan": (".sum(1)\n", ".sum(1) / 0\n", "hidden holds numbers that are not finite"),
    "bug": ("hidden =", "hidden = weights @ 3\n        hidden =", "raises TypeError: unsupported operand"),
    "build": ("torch.zeros(1,", "torch.zros(1,", "raises AttributeError: module 'torch' has no attribute 'zros'"),
    "listed": (
        "self.score =",
        "self.maps = [nn.Linear(place.width, place.width)]\n        self.score =",
        "maps is a list: what is in it is not trained; make it an nn.ModuleList",
    ),
    "lonely": (
        "super().__init__(config, place)",
        "nn.Module.__init__(self)",
        "must call super().__init__(config, place)",
    ),
    "far": (
        "    def forward",
        """
    @classmethod
    def experts_used(cls, config, place):
        return [99]

    def forward""",
        "experts_used names [99] (expected numbers from 1 to",
    ),
    "quiet": (
        "    def forward(self, inputs, *, intervene=None, record=False):\n",
        """
    noise_scale = 0.1

    def forward(self, inputs, *, intervene=None, record=False):
        if inputs.noise is None:
            return Aggregated(self.score.sum() * inputs.experts.states.sum((1, 2)))
""",
        "hidden has shape [3, 16] (expected [B, L, D], here [3, 5, 16])",
    ),
    "nosy": (
        ".sum(1)\n",
        ".sum(1) + inputs.other_experts.states.mean()\n",
        "raises AttributeError: 'NoneType' object has no attribute 'states'",
    ),
    "checks": (
        "    def forward",
        """
    @classmethod
    def check(cls, config, place):
        return 1 / 0

    def forward""",
        "raises ZeroDivisionError: division by zero (plug_checks.py:24)",
    ),
    "vector": (
        "weights.detach())",
        "weights.detach(), auxiliary=hidden.square().mean(-1))",
        "auxiliary has shape [3, 5] (expected a scalar)",
    ),
}


@pytest.mark.parametrize("case", AT_IMPORT)
def test_what_cannot_be_registered(plugin: Callable[..., Path], told: Callable[..., tuple], case: str) -> None:
    old, new, expected = AT_IMPORT[case]
    name = f"plug_{case}"
    study = plugin(name, (old, new))
    code, _, errors = told("plan", study)
    first, line, *rest = errors.strip().splitlines()
    assert (code, first, rest) == (2, f"{HEAD} {name}", [])
    assert line.startswith(f"error: {study}:5: plugins[0]: plug-in {name} cannot be imported: ")
    assert expected in line


def test_a_class_method_that_fails_is_told_in_one_line(plugin: Callable[..., Path], told: Callable[..., tuple]) -> None:
    asked = (
        "    @classmethod\n    def mixes_output(cls, config, place):\n        return place.nothing\n\n    def forward"
    )
    study = plugin("plug_asked", ("    def forward", asked))
    for words in (("plan", study), ("check", "plug_asked", "--plugin", "plug_asked")):
        code, _, errors = told(*words)
        assert (code, errors.count("error: "), "Traceback" in errors) == (2, 1, False)
        assert "manager 'plug_asked': mixes_output raises AttributeError: 'Place' object has no attribute" in errors


@pytest.mark.parametrize("case", AT_PLAN)
def test_what_no_run_could_use(plugin: Callable[..., Path], told: Callable[..., tuple], case: str) -> None:
    old, new, expected = AT_PLAN[case]
    name = f"plug_{case}"
    study = plugin(name, (old, new))
    code, _, errors = told("plan", study)
    _, line, *rest = errors.strip().splitlines()
    assert (code, rest) == (2, [])
    assert line.startswith(
        f"error: {study}:12: axes.manager: {name}: manager '{name}' of {name}, text, cross-modal layer"
    )
    assert expected in line


@pytest.mark.parametrize("written", ["plug_file.py", "./plug_file.py", ".plug_file"])
def test_a_file_in_place_of_a_module(plugin: Callable[..., Path], told: Callable[..., tuple], written: str) -> None:
    study = plugin("plug_file")
    study.write_text(study.read_text().replace("plugins: [plug_file]", f"plugins: [{written}]"))
    code, _, errors = told("plan", study)
    problem = f"plugins[0]: {written!r} is no module: write the name to import, such as plug_file"
    assert (code, errors.strip()) == (2, f"error: {study}:5: {problem}")


def test_a_class_without_the_decorator(plugin: Callable[..., Path], told: Callable[..., tuple]) -> None:
    code, _, errors = told("plan", plugin("plug_bare_class", ('@register_manager("NAME")\n', "")))
    assert code == 2
    assert "unknown manager 'plug_bare_class'; known:" in errors
    assert '(Mine of plug_bare_class is not registered: put @register_manager("NAME") above it)' in errors


def test_a_misspelt_plugin_and_a_namesake(plugin: Callable[..., Path], told: Callable[..., tuple]) -> None:
    study = plugin("plug_near")
    study.write_text(study.read_text().replace("plugins: [plug_near]", "plugins: [plug_naer]"))
    code, _, errors = told("plan", study)
    assert code == 2
    assert "no module of this name is installed or lies in" in errors
    assert "did you mean 'plug_near'?" in errors

    (study.parent / "calendar.py").write_text("")
    study.write_text(study.read_text().replace("plugins: [plug_naer]", "plugins: [calendar]"))
    code, _, errors = told("plan", study)
    assert code == 2
    assert "the name belongs to another module" in errors
    assert "rename calendar.py" in errors


def test_a_near_name_is_offered_alone_whatever_class_has_no_decorator() -> None:
    bare = type("Bare", (Manager,), {"__module__": "plug_bare"})
    with pytest.raises(UserError) as told:
        MANAGERS.get("statik")
    assert str(told.value) == "unknown manager 'statik'; did you mean 'static'?"
    del bare
