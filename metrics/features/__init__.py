"""What clouds are seen through: feature maps of images, and the digits that they are tried on."""

from metrics.features.classifier import ImageClassifier, cache_folder, digits_classifier
from metrics.features.digits import DigitsSplit, load_digits_split
from metrics.features.fingerprint import fingerprint, fingerprint_of_module
from metrics.features.images import find_images, picture, read_image, read_images
from metrics.features.inception import InceptionFeatures
from metrics.features.layers import LayerFeatures
from metrics.features.sources import features_of, identity, read_source
from metrics.features.towers import ImageTower, clip_features, dinov2_features

__all__ = [
    "DigitsSplit",
    "ImageClassifier",
    "ImageTower",
    "InceptionFeatures",
    "LayerFeatures",
    "cache_folder",
    "clip_features",
    "digits_classifier",
    "dinov2_features",
    "features_of",
    "find_images",
    "fingerprint",
    "fingerprint_of_module",
    "identity",
    "load_digits_split",
    "picture",
    "read_image",
    "read_images",
    "read_source",
]
