"""Data sets: read from files nobody has to trust, split once and for all, fed in batches."""

from edgeq.data.augment import crop_flip
from edgeq.data.batching import batches, normalize
from edgeq.data.boxes import Boxes
from edgeq.data.catalogue import DATASETS, GRAPHS, info, load, load_graph
from edgeq.data.dataset import Dataset, DatasetInfo, GraphDataset
from edgeq.data.graph import GraphData
from edgeq.data.preprocessing import Preprocessing
from edgeq.data.samples import Samples
from edgeq.data.source import Augmentation, DataSource, Split
from edgeq.data.splitting import First

__all__ = [
    "DATASETS",
    "GRAPHS",
    "Augmentation",
    "Boxes",
    "DataSource",
    "Dataset",
    "DatasetInfo",
    "First",
    "GraphData",
    "GraphDataset",
    "Preprocessing",
    "Samples",
    "Split",
    "batches",
    "crop_flip",
    "info",
    "load",
    "load_graph",
    "normalize",
]
