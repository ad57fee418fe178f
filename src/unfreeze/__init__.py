"""unfreeze: fine-tune pretrained video classifiers, thawing the backbone block by block."""

__version__ = "0.1.0"
