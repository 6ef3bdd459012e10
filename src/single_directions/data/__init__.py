"""The data sets: one function each. All have the same keys for corruption and subsets."""

from single_directions.data.cifar10 import cifar10
from single_directions.data.digits import digits
from single_directions.data.image_folder import image_folder
from single_directions.data.imagenet import imagenet
from single_directions.data.images import DataSet, Images, LabelledImages, collate
from single_directions.data.mnist import mnist

__all__ = ["DataSet", "Images", "LabelledImages", "cifar10", "collate", "digits", "image_folder", "imagenet", "mnist"]
