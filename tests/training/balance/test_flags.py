import pytest

from unfreeze.training.balance import METHODS, Balance, check_words, parse_balance, plan_balance
from unfreeze.training.config import TrainConfig

TASKS = ("motion", "object")


@pytest.mark.parametrize(
    ("words", "motion", "thing"),
    [
        (("none",), (), ()),
        (("weights",), ("weights",), ("weights",)),
        (("motion=weights",), ("weights",), ()),
        (("motion=weights", "object=none"), ("weights",), ()),
        (("sampler", "object=focal"), ("sampler",), ("focal",)),
        (("object=none", "logit_adjustment"), ("logit_adjustment",), ()),
        (("motion=sampler+weights",), ("weights", "sampler"), ()),  # always in the order of METHODS
        (("focal + effective_number",), ("effective_number", "focal"), ("effective_number", "focal")),
        ((), (), ()),
    ],
)
def test_words_say_what_each_task_gets(words, motion, thing):
    assert parse_balance(words, TASKS) == {"motion": motion, "object": thing}


def test_a_task_may_have_an_equals_sign_in_its_name():
    assert parse_balance(["a=b=weights"], ["a=b", "a"]) == {"a=b": ("weights",), "a": ()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["weigths"], r"--balance weigths: no method 'weigths'; did you mean 'weights'\? \(methods: none, "),
        (["motion="], r"no method ''"),
        (["motion=weights+focl"], r"no method 'focl'; did you mean 'focal'\?"),
        (["moton=weights"], r"no task 'moton'; did you mean 'motion'\? \(tasks: motion, object\)"),
        (["motion=weights", "motion=focal"], r"task 'motion' has two words; join remedies with \+"),
        (["weights", "focal"], r"two words for all tasks; join remedies with \+"),
        (["none+focal"], r"none cannot be joined"),
        (["focal+focal"], r"named twice"),
    ],
)
def test_a_mistake_is_one_line(words, message):
    with pytest.raises(ValueError, match=message) as found:
        parse_balance(words, TASKS)
    assert str(found.value).startswith("--balance")
    assert "\n" not in str(found.value)


def test_words_can_be_checked_before_the_tasks_are_known():
    assert check_words(["weights", "any=focal"]) == {None: ("weights",), "any": ("focal",)}
    with pytest.raises(ValueError, match="no method 'x'"):
        check_words(["any=x"])


def test_the_flags_of_a_run_become_its_plan():
    config = TrainConfig(
        balance=("motion=focal",), balance_strength="sqrt", balance_cap=3, focal_gamma=1, balance_tau=0.5
    )
    plan = plan_balance(config, TASKS)
    assert plan == Balance({"motion": ("focal",), "object": ()}, "sqrt", 3, 1, 0.999, 0.5)
    assert plan.tasks_with("focal") == ("motion",)
    assert not any(plan_balance(TrainConfig(), TASKS).tasks_with(method) for method in METHODS)
