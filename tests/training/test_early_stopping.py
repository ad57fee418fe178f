import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.training.early_stopping import stopped_early


def rows(*values):
    monitor = "val/accuracy"
    return [{"epoch": n, "monitor": {"name": monitor, "value": v}} for n, v in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("values", "patience", "mode", "reason"),
    [
        ((), 1, "max", None),
        ((0.5,), 1, "max", None),
        ((0.5, 0.4), None, "max", None),
        ((0.5, 0.4), 2, "max", None),
        ((0.5, 0.4), 1, "max", "val/accuracy has not improved for 1 epoch (best 0.5000, epoch 1)"),
        ((0.5, 0.5, 0.5), 2, "max", "val/accuracy has not improved for 2 epochs (best 0.5000, epoch 1)"),
        ((0.5, 0.4, 0.6), 2, "max", None),
        ((0.5, 0.6, 0.7), 2, "min", "val/accuracy has not improved for 2 epochs (best 0.5000, epoch 1)"),
        ((0.5, None, 0.6), 2, "max", None),
        ((0.5, None, None), 2, "max", "val/accuracy has not improved for 2 epochs (best 0.5000, epoch 1)"),
        ((None, None), 2, "max", "val/accuracy had no value for 2 epochs"),
        ((None, 0.0, None), 2, "max", None),
    ],
)
def test_a_run_ends_after_so_many_epochs_without_a_better_one(values, patience, mode, reason):
    assert stopped_early(rows(*values), patience, mode) == reason


@given(values=st.lists(st.none() | st.floats(0, 1), max_size=15), patience=st.integers(1, 4))
def test_a_resumed_run_stops_where_it_would_have(values, patience):
    stops = [n for n in range(len(values) + 1) if stopped_early(rows(*values[:n]), patience, "max")]
    first = stops[0] if stops else None
    best, waited = None, 0
    expected = None
    for n, value in enumerate(values, start=1):
        better = value is not None and (best is None or value > best)
        best, waited = (value, 0) if better else (best, waited + 1)
        if waited == patience:
            expected = n
            break
    assert first == expected
