"""Demo data that needs no download: a few hundred rendered clips with two tasks, `motion` and `object`."""

from unfreeze.data.demo.files import ensure_demo

__all__ = ["ensure_demo"]
