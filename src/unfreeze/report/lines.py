"""The log's own language: [PARAMS] in every epoch, [STRATEGY] at every transition, [EPOCH] at its end.

Pure functions from what the freezer knows to lines of text; who prints them is another matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unfreeze.freezer import ParamStatus, Transition

# What a plain terminal gets for characters of the log that it may lack. The icons only decorate words.
_PLAIN = {
    "📊 ": "",
    "🧠 ": "",
    "🎯 ": "",
    "❄️  ": "",
    "…": "...",
    "─": "-",
    "–": "-",
    "×": "x",
    "→": "->",
}


def params_lines(status: ParamStatus, epoch: int) -> list[str]:
    """What trains in an epoch, in parameters (elements)."""
    backbone = _share(status.backbone_trainable, status.backbone_total)
    return [
        f"[PARAMS] Epoch {epoch} Parameter Status:",
        f"  📊 Total model: {_share(status.trainable, status.total)}",
        f"  🧠 Backbone: {backbone}",
        f"  🎯 Classification heads: {status.heads_trainable:,} trainable",
        f"  ❄️  Frozen parameters: {status.frozen:,}",
    ]


def transition_lines(transition: Transition, status: ParamStatus, strategy_name: str) -> list[str]:
    """What changes with the epoch that begins; no line where nothing does and nothing needs explaining.

    Before the first epoch the whole backbone counts as frozen. A run that trains all of it from the start
    says so in one line. A decision that follows from measurements says why in every epoch.
    """
    tag, epoch = f"[{strategy_name.upper()}]", f"Epoch {transition.epoch}:"
    decision, sizes = transition.decision, transition.sizes
    lines = [f"{tag} {epoch} Warning: {warning}" for warning in decision.warnings]
    if decision.measured:
        lines.append(f"{tag} {epoch} {decision.reason}")
    if transition.previous is None and len(sizes) > 1 and set(transition.thawed) == set(sizes):
        everything = f"{len(sizes)} blocks, {status.backbone_total:,} parameters"
        return [*lines, f"{tag} {epoch} The whole backbone trains ({everything})"]
    lines += [f"{tag} {epoch} Unfroze {name} ({sizes[name]:,} parameters)" for name in transition.thawed]
    lines += [f"{tag} {epoch} Froze {name} ({sizes[name]:,} parameters)" for name in transition.frozen]
    if not transition.thawed and not transition.frozen:
        return lines
    if decision.target:
        reached = f"{status.backbone_trainable:,}/{decision.target:,} parameters"
        share = 100 * status.backbone_trainable / decision.target
        lines.append(f"{tag} Progress: {reached} ({share:.1f}% of target)")
    lines.append(f"{tag} Rebuilding optimizer due to layer changes")
    if transition.thawed:
        lines.append(f"{tag} Newly unfrozen layers: {list(transition.thawed)}")
    if transition.frozen:
        lines.append(f"{tag} Newly frozen layers: {list(transition.frozen)}")
    return lines


def epoch_lines(record: Mapping[str, Any]) -> list[str]:
    """How a finished epoch went, from its record (``record.epoch_record``): one line."""
    monitor = record["monitor"]
    best = (
        "none yet" if monitor["best"] is None else f"{number(monitor['best'])}, epoch {monitor['best_epoch']}"
    )
    return [
        f"[EPOCH] Epoch {record['epoch']}: train loss {number(record['train'].get('loss'))}, "
        f"{monitor['name']} {number(monitor['value'])} (best {best}), {record['seconds']:.1f} s, "
        f"{record['clips_per_second']:.1f} clips/s, {100 * record['data_wait']:.0f}% waiting for data"
    ]


def number(value: float | None) -> str:
    """A measured value for reading, ``-`` where there is none."""
    return "-" if value is None else f"{value:.4f}"


def plain(text: str, encoding: str = "ascii") -> str:
    """``text`` as ``encoding`` can hold it: itself, or else without icons and with plain stand-ins.

    What has no stand-in, as a letter in a class name, becomes its escape (``\\u03b1``): never an error.
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for fancy, simple in _PLAIN.items():
            text = text.replace(fancy, simple)
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def _share(trainable: int, total: int) -> str:
    share = 100 * trainable / total if total else 0.0
    return f"{trainable:,}/{total:,} trainable ({share:.1f}%)"
