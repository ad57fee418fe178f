"""From files to batches: manifests, decoding, clip sampling, transforms, loaders, and the demo data."""

from unfreeze.data.dataset import ClipDataset
from unfreeze.data.decode import VideoError, VideoInfo, probe, read_frames
from unfreeze.data.load import load_manifest
from unfreeze.data.loader import ClipLoader, make_loader
from unfreeze.data.manifest import Manifest, Sample

__all__ = [
    "ClipDataset",
    "ClipLoader",
    "Manifest",
    "Sample",
    "VideoError",
    "VideoInfo",
    "load_manifest",
    "make_loader",
    "probe",
    "read_frames",
]
