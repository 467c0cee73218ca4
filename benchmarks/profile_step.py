"""Where the time of a run of the quickstart goes (width 64, cached towers): a training step, its kernels, a whole run.

    python benchmarks/profile_step.py [--rounds 40] [--quick] [--only bridge adaptive] [--no-runs]

Steps: the calls of `train_step` are timed one after another, the managers in turn, and their median CPU time over the
rounds is told. Kernels: torch.profiler gives each kernel's own time, of which the median over the calls of one kind and
shape counts, because the profiler's clock goes on while another program has the core. What of the CPU time of a step,
on the same batch before and after it, is in no kernel is Python, autograd and the dispatch of kernels. Runs: one from
start to end, in this process, from a full cache.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import alternate, ratio
from measurements import Row, measurements, parser
from recording import QUICKSTART
from torch.profiler import ProfilerActivity, profile

from mtlab.data.batches import Batch
from mtlab.distributed.process_group import SINGLE_PROCESS
from mtlab.matmul import default_matmul, fast_matmul, matmul_error, onednn_matmul
from mtlab.model.forward import ForwardContext, RandomKey
from mtlab.resolution.resolve import resolve
from mtlab.seeding import seed_dropout
from mtlab.training.assemble import AssembledRun, assemble
from mtlab.training.environment import keep_freed_memory
from mtlab.training.finish import finish
from mtlab.training.interrupt import Interrupts
from mtlab.training.loop import Loop
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import clip_gradients, train_step

MANAGERS = ("bridge", "static", "adaptive")
WIDTHS = (64, 128, 256)  #: at which the libraries of products are compared on whole steps
STEPS = 10  #: in one measurement of whole steps
PRODUCTS = ((512, 64, 64), (512, 64, 128), (512, 384, 64), (2048, 768, 768))  #: tokens, from width, to width
KINDS: Mapping[str, Sequence[str]] = {  #: the beginnings of kernels' names; the first that fits counts
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv"),
    "attention": ("_scaled_dot_product",),
    "norms": ("native_layer_norm",),
    "optimiser": ("_fused_adamw", "lerp", "_foreach"),
    "elementwise and sums": (
        *("add", "mul", "div", "sub", "neg", "gelu", "tanh", "sum", "linalg_vector_norm", "norm", "rsqrt", "copy_"),
        *("cat", "fill_", "zero_", "clamp", "_softmax", "_log_softmax", "nll", "stack", "reciprocal", "masked_fill"),
    ),
}


class Step:
    """The training steps of a run of the quickstart, whole or call by call."""

    def __init__(self, manager: str, width: int | None = None) -> None:
        self.run = run = quickstart(manager, width)
        self.groups = parameter_groups(run.model, run.train, run.tower_scales)
        self.optimiser = make_optimiser(run.model, self.groups, run.train)
        self.batches = run.training.steps(0, run.train.batch, run.train.batch)
        self.taken = 0
        run.model.train()

    def whole(self, batches: tuple[Batch, ...]) -> None:
        """Make a step."""
        run = self.run
        train_step(run.model, self.optimiser, batches, run.runtime, seed=0, step=self.taken, clip=run.train.clip)
        self.taken += 1

    def several(self) -> None:
        """Make some steps, their batches included."""
        for _ in range(STEPS):
            self.whole(next(self.batches))

    def parts(self, found: dict[str, list[float]]) -> None:
        """Make a step call by call, and add the CPU seconds of each."""
        run, model = self.run, self.run.model
        timed = Timed(found)
        (batch,) = timed("batch", lambda: next(self.batches))
        self.optimiser.zero_grad(set_to_none=True)
        seed_dropout(0, self.taken, 0, rank=0)
        context = ForwardContext(model, run.runtime, RandomKey(0, self.taken, 0))
        logits = timed("forward", lambda: context.answer(batch))
        loss = timed("loss", lambda: model.task.loss(logits, batch.targets))
        timed("backward", loss.backward)
        parameters = [each for group in self.optimiser.param_groups for each in group["params"]]
        timed("clipping", lambda: clip_gradients(parameters, run.train.clip or 1.0, SINGLE_PROCESS))
        for optimiser in getattr(self.optimiser, "optimisers", (self.optimiser,)):
            timed({"BatchedMuon": "Muon"}.get(type(optimiser).__name__, type(optimiser).__name__), optimiser.step)
        timed("step", lambda: self.whole((batch,)))


class Timed:
    """Calls, and the CPU seconds that they take, by name."""

    def __init__(self, found: dict[str, list[float]]) -> None:
        self.found = found

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """Make a call."""
        started = time.process_time()
        given = work()
        self.found.setdefault(name, []).append(time.process_time() - started)
        return given


def quickstart(manager: str, width: int | None = None) -> AssembledRun:
    """Assemble a run of the quickstart, as a plan resolves it, or of another width."""
    model = QUICKSTART["model"] if width is None else {**QUICKSTART["model"], "width": width}
    chosen = {"choose": "val/accuracy", "mode": "max"}
    return assemble(resolve({**QUICKSTART, "model": model, "manager": {"name": manager}, "metrics": chosen}), seed=0)


def of_steps(steps: Mapping[str, Step], rounds: int) -> list[Row]:
    """Time the calls of a step of each manager in turn; return its CPU time and their shares of it."""
    found: dict[str, dict[str, list[float]]] = {manager: {} for manager in steps}
    for _ in range(3 + rounds):
        for manager, step in steps.items():
            step.parts(found[manager])
    rows: list[Row] = []
    for manager, calls in found.items():
        took = {name: statistics.median(each[3:]) for name, each in calls.items()}
        whole = took.pop("step") + took["batch"]
        shares = {name: each / whole for name, each in took.items()}
        rest = max(0.0, 1 - sum(shares.values()))
        rows.append({"manager": manager, "CPU ms a step": 1000 * whole, **shares, "all else": rest})
    return rows


def of_kernels(manager: str, step: Step, rounds: int) -> Row:
    """Profile steps on one batch; return the share of each kind of kernel in the CPU time of a step on it."""
    batches = next(step.batches)
    plain: dict[str, list[float]] = {}
    timed = Timed(plain)

    def several() -> None:
        for _ in range(rounds):
            timed("step", lambda: step.whole(batches))

    step.whole(batches)
    several()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(rounds):
            step.whole(batches)
    several()
    seconds = statistics.median(plain["step"])
    alike: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in profiler.events():  # type: ignore[union-attr]  # it has ended
        alike[event.name, str(event.input_shapes)].append(event.self_cpu_time_total / 1e6)
    taken = dict.fromkeys(KINDS, 0.0)
    calls = 0
    for (name, _), each in alike.items():
        kernel = name.removeprefix("aten::")
        kind = next((kind for kind, known in KINDS.items() if name != kernel and kernel.startswith(tuple(known))), None)
        calls += len(each) if name != kernel else 0
        if kind is not None:
            taken[kind] += statistics.median(each) * len(each) / rounds
    shares = {kind: each / seconds for kind, each in taken.items()}
    return {
        "manager": manager,
        **shares,
        "Python, autograd, dispatch": 1 - sum(shares.values()),
        "calls of torch's operators": calls // rounds,
    }


def of_products(rounds: int) -> list[Row]:
    """Time products in float32 by torch's own library (MKL on most processors) and by oneDNN."""
    rows: list[Row] = []
    for tokens, given, made in PRODUCTS:
        states, weight, repeat = torch.randn(tokens, given), torch.randn(made, given), 2**31 // (tokens * given * made)

        def multiply(states: Any = states, weight: Any = weight, repeat: int = repeat) -> None:
            for _ in range(repeat):
                torch.nn.functional.linear(states, weight)

        taken = alternate(
            {"torch's own": within(default_matmul, multiply), "oneDNN": within(onednn_matmul, multiply)}, rounds
        )
        flops = 2 * tokens * given * made * repeat / 1e9
        speeds = {f"{n}, GFLOP/s": flops / statistics.median(e.cpu for e in each) for n, each in taken.items()}
        rows.append({"product": f"{tokens} × {given} × {made}", **speeds})
    return rows


def within(library: Callable[[], AbstractContextManager[None]], work: Callable[[], object]) -> Callable[[], object]:
    """Let a library take the products of some work."""

    def taken() -> None:
        with library():
            work()

    return taken


def of_run(manager: str) -> Row:
    """Make a whole run; return CPU seconds of its parts."""
    found: dict[str, list[float]] = {}
    timed = Timed(found)
    with tempfile.TemporaryDirectory() as name, Interrupts() as interrupts:
        folder = Path(name)
        (folder / "checkpoints").mkdir()
        run = timed("assembly", lambda: quickstart(manager))
        loop = Loop(run, folder, interrupts)
        for part in ("_step", "_validate", "_record", "_save_checkpoint"):
            setattr(loop, part, wrapped(timed, part, getattr(loop, part)))
        progress = loop.train()
        timed("end", lambda: finish(run, progress, folder, {}, interrupts.check))
    sums = {name: sum(each) for name, each in found.items()}
    named = {"steps": "_step", "validation": "_validate", "looks": "_record", "checkpoints": "_save_checkpoint"}
    parts = {title: sums[part] for title, part in named.items()}
    return {"manager": manager, "assembly, CPU s": sums["assembly"]} | {
        f"{title}, CPU s": each for title, each in {**parts, "end": sums["end"]}.items()
    }


def wrapped(timed: Timed, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """Time each call of a method."""
    return lambda *given: timed(name, lambda: work(*given))


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, rounds=40, quick="10 steps of each")
    arguments.add_argument("--only", nargs="+", choices=MANAGERS, default=MANAGERS)
    arguments.add_argument("--no-runs", action="store_true", help="no whole runs")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    rounds = 10 if asked.quick else asked.rounds
    with fast_matmul(), measurements(asked) as tables:
        tables.add("products", of_products(5))
        print(f"error of a product: {matmul_error():.1e}", flush=True)
        steps = {manager: Step(manager) for manager in asked.only}
        tables.add("steps", of_steps(steps, rounds))
        for manager, step in steps.items():
            tables.add("kernels", [of_kernels(manager, step, max(5, rounds // 4))])
        for width in WIDTHS:
            for manager in asked.only:
                several = Step(manager, width).several
                both = {"own": within(default_matmul, several), "oneDNN": within(onednn_matmul, several)}
                taken = alternate(both, max(3, rounds // 6))
                found = ratio(taken["oneDNN"], taken["own"])
                tables.add("libraries", [{"width": width, "manager": manager, "oneDNN / torch's own": found}])
        if not asked.no_runs:
            for manager in asked.only:
                tables.add("runs", [of_run(manager)])


if __name__ == "__main__":
    main()
