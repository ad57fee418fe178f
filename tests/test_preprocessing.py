"""What a clip must look like: checked, and the same again from JSON."""

import json

import pytest

from unfreeze.preprocessing import Preprocessing

GOOD = {
    "frames": 16,
    "resize": (128, 171),
    "crop": (112, 112),
    "mean": (0.4, 0.4, 0.4),
    "std": (0.2, 0.2, 0.2),
    "fps": 7.5,
    "interpolation": "bicubic",
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"fps": None},
        {"resize": 128},
        {"crop": (128, 171)},
        {"fps": None, "stride": 2},
        {"short": "wrap"},
    ],
)
def test_json_and_back(change: dict[str, object]) -> None:
    preprocessing = Preprocessing(**{**GOOD, **change})
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing
    assert hash(preprocessing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "frames must be a whole number of at least 1, not 0"),
        ({"frames": 2.5}, "frames must be"),
        ({"frames": True}, "frames must be"),
        ({"resize": 0}, "resize must be"),
        ({"resize": ()}, "resize must be"),
        ({"resize": (1, 2, 3)}, "resize must be"),
        ({"crop": (112,)}, "crop must be"),
        ({"crop": 112}, "crop must be"),
        ({"crop": (129, 112)}, r"crop \(129, 112\) does not fit into frames resized to \(128, 171\)"),
        ({"resize": 100}, "does not fit into frames resized to 100"),
        ({"mean": (0.4,)}, "mean must be three numbers"),
        ({"mean": (0.4, 0.4, float("nan"))}, "mean must be three numbers"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be three numbers above 0"),
        ({"fps": 0}, "fps must be above 0, or None, not 0"),
        ({"fps": float("inf")}, "fps must be"),
        ({"fps": None, "stride": 0}, "stride must be a whole number of at least 1, or None, not 0"),
        ({"fps": None, "stride": 1.5}, "stride must be"),
        ({"stride": 2}, "fps 7.5 and stride 2 contradict each other; give one of them"),
        ({"short": "loop"}, "short must be one of repeat, wrap, not 'loop'"),
        ({"interpolation": "area"}, "interpolation must be one of bilinear, bicubic, nearest, not 'area'"),
    ],
)
def test_what_no_clip_could_have(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**{**GOOD, **change})


def test_what_was_written_before_there_was_a_stride() -> None:
    old = {
        key: value for key, value in Preprocessing(**GOOD).to_dict().items() if key not in ("stride", "short")
    }
    assert Preprocessing.from_dict(old) == Preprocessing(**GOOD)


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        ({}, {}),
        ({"frames": 8}, {"frames": 8}),
        ({"fps": 4}, {"fps": 4}),
        ({"stride": 3}, {"fps": None, "stride": 3}),
        ({"short": "wrap", "frames": 1}, {"short": "wrap", "frames": 1}),
    ],
)
def test_another_choice_of_frames(asked: dict[str, object], change: dict[str, object]) -> None:
    assert Preprocessing(**GOOD).with_clip(**asked) == Preprocessing(**{**GOOD, **change})


def test_a_stride_goes_when_a_rate_is_asked_for() -> None:
    strided = Preprocessing(**GOOD).with_clip(stride=2)
    assert strided.with_clip(frames=4).stride == 2
    assert strided.with_clip(fps=5).stride is None
    with pytest.raises(ValueError, match="contradict each other"):
        strided.with_clip(fps=5, stride=2)
