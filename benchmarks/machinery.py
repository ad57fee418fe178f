"""What the machinery costs: an epoch's decision, frozen mode in a training step, and the import.

    python benchmarks/machinery.py

Targets: an epoch's decision, transition and status on r3d_18 under 5 ms; frozen mode under 0.5 % of a
training step of r3d_micro, against a loop written by hand; ``import unfreeze`` under 50 ms beyond
``import torch``.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from reporting import footer, table, write
from unfreeze.freezer import Freezer
from unfreeze.models import VideoClassifier, build_model
from unfreeze.strategies import Strategy, get

TASKS = {"motion": [str(n) for n in range(8)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=300, help="pairs of training steps (default: 300)")
    parser.add_argument("--imports", type=int, default=15, help="fresh processes (default: 15)")
    args = parser.parse_args()
    torch.set_num_threads(1)

    head_only, last_block = get("head_only")(), get("fixed")(phase1_epochs=0, unfreeze_blocks=1)
    everything = "; [getattr(unfreeze, name) for name in unfreeze.__all__]"  # names are imported at first use
    epochs = epoch_milliseconds()
    steps = {
        "frozen": step_ratios(head_only, args.pairs),
        "last_block": step_ratios(last_block, args.pairs),
        "control": step_ratios(head_only, args.pairs, control=True),
    }
    imports = {
        "package": import_milliseconds("import unfreeze", args.imports),
        "all_names": import_milliseconds(f"import unfreeze{everything}", args.imports),
    }
    rows = [
        ["r3d_18: decision, transition and status, per epoch", _milliseconds(epochs), "< 5 ms"],
        ["r3d_micro: frozen mode in a step, backbone frozen", _percent(steps["frozen"]), "< 0.5 %"],
        ["r3d_micro: frozen mode in a step, last block training", _percent(steps["last_block"]), "< 0.5 %"],
        ["control: the loop by hand against itself", _percent(steps["control"]), ""],
        ["import unfreeze, beyond import torch", _milliseconds(imports["package"]), "< 50 ms"],
        ["… and all of its public names", _milliseconds(imports["all_names"]), ""],
    ]
    content = {"epoch_ms": epochs, "step_ratio_minus_1": steps, "import_ms": imports}
    write("machinery", content, table(["what", "measured", "target"], rows) + "\n\n" + footer())


def _milliseconds(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ms (slowest of {len(values)}: {max(values):.2f} ms)"


def _percent(values: Sequence[float]) -> str:
    low, middle, high = interval(values)
    return f"{middle:+.2%} (95 %: {low:+.2%} to {high:+.2%}, {len(values)} pairs)"


def epoch_milliseconds(runs: int = 5, epochs: int = 12) -> list[float]:
    """Start of an epoch and its parameter status, with a block thawing at each, in milliseconds."""
    found = []
    for _ in range(runs):
        model = build_model("r3d_18", TASKS, weights="none", log=lambda _: None)
        freezer = Freezer(model, get("early_gradual")(target_ratio=1.0), monitor="val/loss")
        optimizer = torch.optim.AdamW(freezer.param_groups(lr=1e-3))
        freezer.attach(optimizer)
        for epoch in range(epochs):
            started = time.perf_counter()
            freezer.start_epoch()
            freezer.status()
            found.append(1e3 * (time.perf_counter() - started))
            freezer.end_epoch(**{"val/loss": 1.0 / (1 + epoch)})
    return found


def step_ratios(rule: Strategy, pairs: int, *, control: bool = False) -> list[float]:
    """Time of a training step with the Freezer over that of the same step by hand, minus 1, pair by pair.

    Both arms train the same layers of equal models on the same batch; which goes first is drawn by lot, and
    which was built first changes half-way, because a model's place in memory has a say too. Processor time of
    one thread, which other programs disturb less than the clock on the wall.

    Args:
        control: put a second loop by hand in the Freezer's place, to see what the measurement is worth.
    """
    names = _with_freezer(rule)[1]
    builders = [
        (lambda: _by_hand(names)) if control else (lambda: _with_freezer(rule)[0]),
        lambda: _by_hand(names),
    ]
    lots, found = random.Random(0), []
    for order in ((0, 1), (1, 0)):
        arms = {}
        for arm in order:
            torch.manual_seed(0)
            arms[arm] = builders[arm]()
        for _ in range(5):
            arms[0]()
            arms[1]()
        for _ in range(pairs // 2):
            first = lots.choice(order)
            seconds = {first: _seconds(arms[first])}
            seconds[1 - first] = _seconds(arms[1 - first])
            found.append(seconds[0] / seconds[1] - 1)
    return found


def _with_freezer(rule: Strategy) -> tuple[Callable[[], None], set[str]]:
    model = build_model("r3d_micro", TASKS, weights="none", log=lambda _: None)
    freezer = Freezer(model, rule)
    optimizer = torch.optim.AdamW(freezer.param_groups(lr=1e-3))
    freezer.attach(optimizer)
    model.train()
    freezer.start_epoch()
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return _stepper(model, optimizer), trainable


def _by_hand(trainable: set[str]) -> Callable[[], None]:
    """What one writes without a library: no gradients and evaluation mode for what does not train."""
    model = build_model("r3d_micro", TASKS, weights="none", log=lambda _: None)
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    return _stepper(model, optimizer)


def _stepper(model: VideoClassifier, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    size = model.preprocessing.crop
    video = torch.randn(8, 3, model.preprocessing.frames, *size, generator=generator)
    labels = torch.randint(0, len(TASKS["motion"]), (8,), generator=generator)

    def step() -> None:
        F.cross_entropy(model(video)["motion"], labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _seconds(step: Callable[[], None]) -> float:
    started = time.process_time()
    step()
    return time.process_time() - started


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """2.5 %, median and 97.5 % of the median, by bootstrap."""
    lots = random.Random(0)
    medians = sorted(statistics.median(lots.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], statistics.median(values), medians[int(0.975 * draws)]


def import_milliseconds(statement: str, processes: int) -> list[float]:
    """``statement`` after ``import torch``, each time in a fresh process, in milliseconds."""
    code = (
        "import time, torch\n"
        "started = time.perf_counter()\n"
        f"{statement}\n"
        "print(1e3 * (time.perf_counter() - started))\n"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, capture_output=True)  # writes the .pyc files, reads the disk
    return [
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(processes)
    ]


if __name__ == "__main__":
    main()
