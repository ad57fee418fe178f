"""What balancing makes of the class prior: how often each class occurs, and how much it then counts.

A class that makes up the share p of the training clips, is drawn s times as often as the average clip, weighs
w in the loss and has its logit adjusted with tau pulls on the head as a share of p s w / p^tau would. That is
the effective prior. Equal shares are what one remedy at full strength aims at; two overshoot. Focal loss has
no part in it: how easy a class is, the model says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unfreeze.data.manifest import Manifest
from unfreeze.training.balance.class_weights import loss_weights
from unfreeze.training.balance.counts import Floats, training_counts
from unfreeze.training.balance.flags import Balance
from unfreeze.training.balance.logit_adjustment import log_prior
from unfreeze.training.balance.sampler import sample_weights

_SHIFTS_PRIOR = ("weights", "effective_number", "sampler", "logit_adjustment")
_MANY = 6  # classes that can be named in a line
_WORSE = 1.5  # so much more unequal than before is worth a warning


@dataclass(frozen=True)
class Prior:
    """Each class's share (classes,) in the data and in what the loss sees.

    Of a multi-label task each is of its own, the share of the clips that have the class; else they sum to 1.
    """

    data: Floats
    effective: Floats


def effective_prior(balance: Balance, manifest: Manifest, task: str, drawn: Floats | None) -> Prior:
    """The class prior of a task in the training clips, before and after its remedies.

    Args:
        drawn: ``sample_weights`` of the run.
    """
    counts = training_counts(manifest, task)
    pull = training_counts(manifest, task, drawn)
    weights = loss_weights(balance, task, counts)
    if weights is not None:
        pull = pull * weights
    if "logit_adjustment" in balance.methods[task]:
        pull = pull * np.exp(-balance.tau * log_prior(counts))
    data, effective = (_shares(each) for each in (counts, pull))
    if task in manifest.multilabel:
        return Prior(data[:, 1], effective[:, 1])
    return Prior(data[0], effective[0])


def prior_lines(balance: Balance, manifest: Manifest) -> list[str]:
    """A line per head whose prior is balanced, on purpose or by the sampler of another; then the warnings.

    No line where nothing is balanced.
    """
    drawn = sample_weights(balance, manifest)
    lines, warnings = [], []
    for task, methods in balance.methods.items():
        if not methods and drawn is None:
            continue
        names = manifest.tasks[task]
        prior = effective_prior(balance, manifest, task, drawn)
        by = "+".join(methods) if methods else f"sampler of {', '.join(balance.tasks_with('sampler'))}"
        easy = ", easy clips played down" if "focal" in methods else ""
        lines.append(
            f"[BALANCE] {task} ({by}): data {_listed(names, prior.data, prior.data)} "
            f"→ effective {_listed(names, prior.effective, prior.data)}{easy}"
        )
        warnings += _warnings(balance, task, names, prior, drawn is not None)
    return lines + warnings


def _warnings(balance: Balance, task: str, names: tuple[str, ...], prior: Prior, sampled: bool) -> list[str]:
    methods = balance.methods[task]
    known = np.flatnonzero(prior.data)
    if not len(known):
        return []
    rarest = known[prior.data[known].argmin()]
    change = (
        f"{names[rarest]}, the rarest class, goes from {prior.data[rarest]:.1%} "
        f"to {prior.effective[rarest]:.1%}"
    )
    if len(methods) > 1:
        return [
            f"[BALANCE] Warning: {task} stacks {' and '.join(methods)}: {change}; one remedy is the rule, "
            f"as in --balance {task}={methods[0]}"
        ]
    shifts = [method for method in methods if method in _SHIFTS_PRIOR]
    if sampled and "sampler" not in methods:
        others = ", ".join(balance.tasks_with("sampler"))
        words = " ".join(f"{name}=sampler" for name in (*balance.tasks_with("sampler"), task))
        if shifts:
            return [
                f"[BALANCE] Warning: {task} has {shifts[0]} on top of the sampler of {others}: {change}; "
                f"--balance {words} draws for both"
            ]
        if _spread(prior.effective[known]) > _WORSE * _spread(prior.data[known]):
            return [
                f"[BALANCE] Warning: the sampler of {others} makes {task} less equal than it was: {change}; "
                f"--balance {words} draws for both"
            ]
    return []


def _shares(counts: Floats) -> Floats:
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def _spread(shares: Floats) -> float:
    return float(shares.max() / max(shares.min(), 1e-12))


def _listed(names: tuple[str, ...], shares: Floats, data: Floats) -> str:
    """Every class if they are few, else the most frequent and the rarest one in the data."""
    order = list(np.argsort(-data, kind="stable"))
    shown = [f"{names[index]} {shares[index]:.1%}" for index in order]
    return ", ".join(shown) if len(shown) <= _MANY else f"{shown[0]} … {shown[-1]}"
