"""Brings the rooms together: from flags to a trained model and the files of its run."""
