"""Data sets: read from files nobody has to trust, split once and for all, fed in batches."""

from edgeq.data.augment import crop_flip
from edgeq.data.batching import batches, normalize
from edgeq.data.catalogue import DATASETS, info, load
from edgeq.data.dataset import Dataset, DatasetInfo
from edgeq.data.source import Augmentation, DataSource, Split

__all__ = ["DATASETS", "Augmentation", "DataSource", "Dataset", "DatasetInfo", "Split", "batches", "crop_flip", "info", "load", "normalize"]
