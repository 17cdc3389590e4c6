"""Data for small generators: built-in sets, a folder of pictures, a file of arrays, a Hugging Face dataset.

Pixels are in [−1, 1], or bytes that stand for it. Every data set comes as a training and a held-out part: what a
measure says of the two is its floor.
"""

from gan.data.file import file
from gan.data.folder import ImageFiles, folder, hugging_face
from gan.data.mixtures import grid, ring
from gan.data.mnist import mnist
from gan.data.sets import Data, digits, split
from gan.data.shift import shift_images
from gan.data.spiral import spiral
from gan.data.stacked import stacked_digits, stacked_labels

__all__ = [
    "Data",
    "ImageFiles",
    "digits",
    "file",
    "folder",
    "grid",
    "hugging_face",
    "mnist",
    "ring",
    "shift_images",
    "spiral",
    "split",
    "stacked_digits",
    "stacked_labels",
]
