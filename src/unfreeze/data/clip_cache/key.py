"""The name of an entry: a digest of everything that its content depends on."""

from __future__ import annotations

import hashlib

from unfreeze.data.clip_cache.entry import VERSION
from unfreeze.data.identity import Digests, file_digest, surroundings
from unfreeze.data.manifest import View


def name_of(view: View, recipe: str, decoder: str, digests: Digests) -> str:
    """The name of the entry of ``view``, decoded by ``decoder`` and prepared as ``recipe`` says.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    content = (file_digest(view.path, digests), view.start, view.end, recipe)
    return hashlib.sha256(repr((VERSION, *content, surroundings(decoder))).encode()).hexdigest()[:32]
