"""Remedies against class imbalance, per task: one file per method, what they share beside them.

``plan_balance`` reads the flags; ``build_criterion`` (in ``training.losses``) and ``sample_weights`` act on
them; ``prior_lines`` says what the loss then sees. No method knows of parameters, so each goes with every
freezing strategy.
"""

from unfreeze.training.balance.flags import METHODS, Balance, check_words, parse_balance, plan_balance
from unfreeze.training.balance.prior import prior_lines
from unfreeze.training.balance.sampler import sample_weights

__all__ = [
    "METHODS",
    "Balance",
    "check_words",
    "parse_balance",
    "plan_balance",
    "prior_lines",
    "sample_weights",
]
