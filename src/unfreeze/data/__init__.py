"""From files to batches: manifests, decoding, clip sampling, transforms, loaders, and the demo data."""

from unfreeze.data.dataset import ClipDataset
from unfreeze.data.decode import (
    DecodedVideo,
    VideoError,
    VideoInfo,
    pick_decoder,
    probe,
    read_all,
    read_frames,
)
from unfreeze.data.load import load_manifest
from unfreeze.data.loader import ClipLoader, make_loader
from unfreeze.data.manifest import Label, Manifest, Sample, View, indices_of

__all__ = [
    "ClipDataset",
    "ClipLoader",
    "DecodedVideo",
    "Label",
    "Manifest",
    "Sample",
    "VideoError",
    "VideoInfo",
    "View",
    "indices_of",
    "load_manifest",
    "make_loader",
    "pick_decoder",
    "probe",
    "read_all",
    "read_frames",
]
