"""What a plan says to the user: one line, whether something is kept or not."""

from __future__ import annotations

from collections.abc import Sequence

from unfreeze.prefix.plan import Plan
from unfreeze.wording import in_bytes, in_seconds

_SHARE, _SECONDS = 0.05, 1.0  # with less to be saved, a cache is more trouble than it is worth


def decline_reason(plan: Plan, *, share: float = _SHARE, seconds: float = _SECONDS) -> str | None:
    """Why there should be no cache, as it goes on after "off, as"; None where it pays.

    Args:
        share: of the time without a cache that must be saved.
        seconds: that must be saved.
    """
    if any(plan.cached) and plan.share >= share and plan.saved >= seconds:
        return None
    if not any(plan.boundaries):
        return "no block at the input stays frozen"
    if any(plan.cached):
        return f"it would save only {part_of(plan.saved, plan.naive)}"
    if plan.limit is not None and plan.wanted > plan.limit:
        return f"about {in_bytes(plan.wanted)} of activations do not fit into {in_bytes(plan.limit)}"
    if sum(boundary > 0 for boundary in plan.boundaries) == 1:
        return "there is only one epoch with frozen blocks"
    if plan.refresh == 1:
        return "every training view is drawn anew"
    return "keeping and reading activations would take longer than computing them again"


def expectation_line(
    plan: Plan,
    names: Sequence[str],
    where: str,
    *,
    first_epoch: int = 1,
    at_least: bool = False,
    asked: bool = False,
) -> str:
    """What the cache will be and do, where something is kept in some epoch.

    Args:
        names: of the blocks, from input to output.
        where: "in RAM, about 9 MB", as ``Tier.line`` has it.
        first_epoch: number of the first planned epoch.
        at_least: the plan expects blocks to thaw the soonest that they can.
    """
    return (
        f"Prefix cache: {_places(plan, names, first_epoch)}, {where}; "
        f"expected to save {'at least ' if at_least else ''}{part_of(plan.saved, plan.naive)}"
    )


def part_of(part: float, whole: float) -> str:
    """Seconds of seconds: ``3.1 of 4.2 minutes (74%)``."""
    said, total = in_seconds(part), in_seconds(whole)
    (count, unit), whole_unit = said.split(" "), total.split(" ")[1]
    share = f" ({100 * part / whole:.0f}%)" if whole else ""
    return f"{count if unit == whole_unit else said} of {total}{share}"


def _places(plan: Plan, names: Sequence[str], first_epoch: int) -> str:
    """``behind layer3.1``, or for several boundaries each with its epochs."""
    kept = [stretch for stretch in plan.stretches if stretch.boundary]
    if len(plan.stretches) == 1:
        return f"behind {names[kept[0].boundary - 1]}"
    last_epoch = first_epoch + len(plan.cached) - 1
    said = []
    for stretch in kept:
        start = first_epoch + stretch.first
        end = start + stretch.epochs - 1
        if end == start:
            when = f"in epoch {start}"
        elif end == last_epoch:
            when = f"from epoch {start} on"
        else:
            when = f"in epochs {start} to {end}"
        said.append(f"behind {names[stretch.boundary - 1]} {when}")
    return ", ".join(said)
