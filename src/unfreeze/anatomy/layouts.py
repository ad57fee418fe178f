"""What models say about themselves: timm's ``group_matcher``, and a table of known layouts by class name.

Classes are recognised by the names in their method resolution order, so that subclasses count and nothing but
torch is imported. Sources: torchvision.models (video/resnet, video/mvit, video/s3d, video/swin_transformer,
resnet, swin_transformer, convnext, vision_transformer), transformers' ``…ForVideoClassification`` models,
timm.models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from unfreeze.anatomy.patterns import topmost
from unfreeze.anatomy.tree import Tree, is_below, join
from unfreeze.anatomy.units import Unit

_TIMM_WITH_PREVIOUS = 99999  # timm.models._manipulate.MATCH_PREV_GROUP


@dataclass(frozen=True)
class Layout:
    """Globs relative to the model: its stem, its blocks, what joins the block after it, its classifier.

    Patch mergings (Swin) and downsampling layers (ConvNeXt) join the block after them, as a ResNet's
    downsampling branch does: a block then starts where the resolution changes, and no thaw is spent on a step
    without depth.
    """

    library: str
    stem: tuple[str, ...]
    blocks: tuple[str, ...]
    heads: tuple[str, ...]
    joins_next: tuple[str, ...] = ()


_RESNET = ("layer[1-4].*",)
_TRANSFORMERS = {
    name: Layout("transformers", ("*.embeddings",), ("*.encoder.layer.*", "*.layers.*"), ("classifier",))
    for name in (
        "VideoMAEForVideoClassification",
        "TimesformerForVideoClassification",
        "VivitForVideoClassification",
        "ViTForImageClassification",
    )
}
LAYOUTS: dict[str, Layout] = {
    "VideoResNet": Layout("torchvision", ("stem",), _RESNET, ("fc",)),
    "ResNet": Layout("torchvision", ("conv1", "bn1", "relu", "maxpool"), _RESNET, ("fc",)),
    "MViT": Layout("torchvision", ("conv_proj", "pos_encoding"), ("blocks.*",), ("head",)),
    "S3D": Layout("torchvision", (), ("features.*",), ("classifier",)),
    "SwinTransformer3d": Layout(
        "torchvision", ("patch_embed", "pos_drop"), ("features.[0246].*",), ("head",), ("features.[135]",)
    ),
    "SwinTransformer": Layout(
        "torchvision", ("features.0",), ("features.[1357].*",), ("head",), ("features.[246]",)
    ),
    "ConvNeXt": Layout(
        "torchvision", ("features.0",), ("features.[1357].*",), ("classifier.2",), ("features.[246]",)
    ),
    "VisionTransformer": Layout("torchvision", ("conv_proj",), ("encoder.layers.*",), ("heads",)),
    **_TRANSFORMERS,
}


@dataclass(frozen=True)
class Declaration:
    """What one module of the model (the model itself, or a backbone inside it) says about its blocks and
    heads.
    """

    owner: str
    units: tuple[Unit, ...]
    heads: tuple[str, ...]


def declared(tree: Tree) -> Declaration | None:
    """The first declaration on the way from the model into the submodule with most of its parameters."""
    name, total = "", tree.parameters("")
    while True:
        name, module = tree.peeled(name)
        found = _timm(tree, name, module) or _known(tree, name, module)
        if found is not None and any(tree.parameters(root) for unit in found.units for root in unit.roots):
            return found
        larger = [child for child, _ in tree.children(name) if 2 * tree.parameters(child) > total]
        if not larger:
            return None
        name = larger[0]


def _known(tree: Tree, owner: str, module: nn.Module) -> Declaration | None:
    for cls in type(module).__mro__:
        layout = LAYOUTS.get(cls.__name__)
        if layout is not None and cls.__module__.split(".")[0] == layout.library:
            break
    else:
        return None
    names = {_relative(name, owner): name for name in tree.modules if name != owner and is_below(name, owner)}
    plain = {tree.plain_name(name): full for name, full in reversed(names.items())}
    # registration order, outer modules before the inner ones that they wrap
    plain = dict(reversed(plain.items()))

    def find(globs: tuple[str, ...]) -> list[str]:
        return [plain[match] for glob in globs for match in topmost(plain, glob)]

    stem, heads = find(layout.stem), find(layout.heads)
    blocks, joining = find(layout.blocks), find(layout.joins_next)
    if not blocks or (layout.stem and not stem):
        return None
    units = [Unit(join(owner, "stem"), tuple(stem), chosen=True, stem=True)] if stem else []
    # a layer without state (S3D's pooling) is no step of its own: it stays a find and follows its neighbour
    units += [Unit(name, (name,), chosen=True) for name in blocks if tree.owns_state(name)]
    units += [Unit(name, (name,), joins_next=True) for name in joining]
    return Declaration(owner, tuple(units), tuple(name for name in heads if tree.parameters(name)))


def _timm(tree: Tree, owner: str, module: nn.Module) -> Declaration | None:
    matcher = getattr(module, "group_matcher", None)
    classifier = getattr(module, "get_classifier", None)
    if not callable(matcher) or not callable(classifier):
        return None
    rules = list(_timm_rules(matcher(coarse=False)))
    found = classifier()
    if isinstance(found, (nn.ModuleList, nn.ModuleDict)):
        found = tuple(found.children())
    candidates = found if isinstance(found, (tuple, list)) else (found,)
    named = [tree.canonical(head) for head in candidates if isinstance(head, nn.Module)]
    heads = tuple(name for name in named if name is not None and tree.parameters(name))
    groups: dict[str, tuple[float, ...]] = {}  # parameter -> timm's group
    labels: dict[tuple[float, ...], set[str]] = {}  # group -> the texts that its rules matched
    stems: set[tuple[float, ...]] = set()
    for parameter, _ in module.named_parameters():
        for is_stem, rule, prefix, suffix in rules:
            if match := rule.match(parameter):
                group = (prefix, *(float(number) for number in match.groups() if number is not None), *suffix)
                groups[parameter] = group
                labels.setdefault(group, set()).add(match.group(0))
                if is_stem:
                    stems.add(group)
                break
    merged = _merge_with_previous(sorted(labels))
    by_group: dict[tuple[float, ...], list[str]] = {}
    owned = {
        name: {merged.get(groups.get(p, ())) for p in _parameters_below(tree, owner, name)}
        for name in tree.modules
        if name != owner and is_below(name, owner)
    }
    covered: list[str] = []
    for name, its in owned.items():
        if len(its) == 1 and None not in its and not any(is_below(name, above) for above in covered):
            covered.append(name)
            by_group.setdefault(next(iter(its)), []).append(name)  # type: ignore[arg-type]
    units = []
    for group, roots in sorted(by_group.items()):
        texts = {join(owner, text) for text in labels[group]} & set(tree.modules)
        named_by = sorted(texts, key=tree.parameters) or sorted(roots, key=tree.parameters)
        is_stem = group in stems
        units.append(
            Unit(join(owner, "stem") if is_stem else named_by[-1], tuple(roots), chosen=True, stem=is_stem)
        )
    return Declaration(owner, tuple(units), heads)


def _timm_rules(
    matcher: dict[str, Any],
) -> Iterator[tuple[bool, re.Pattern[str], float, tuple[float, ...]]]:
    """timm's matcher as (is the stem, expression, leading number, trailing numbers), in its order."""
    for ordinal, (key, spec) in enumerate(matcher.items()):
        entries = spec if isinstance(spec, (list, tuple)) else [(spec, None)] if spec is not None else []
        for expression, suffix in entries:
            yield key == "stem", re.compile(expression), float(ordinal), tuple(map(float, suffix or ()))


def _merge_with_previous(groups: list[tuple[float, ...]]) -> dict[tuple[float, ...], tuple[float, ...]]:
    """A group with timm's "with the previous" marker (a final norm) is part of the group before it."""
    merged: dict[tuple[float, ...], tuple[float, ...]] = {}
    previous: tuple[float, ...] | None = None
    for group in groups:
        if group[-1] != _TIMM_WITH_PREVIOUS or previous is None:
            previous = group
        merged[group] = previous
    return merged


def _parameters_below(tree: Tree, owner: str, name: str) -> Iterator[str]:
    inner = _relative(name, owner)
    for parameter, _ in tree.modules[name].named_parameters():
        yield join(inner, parameter)


def _relative(name: str, owner: str) -> str:
    return name[len(owner) + 1 :] if owner else name
