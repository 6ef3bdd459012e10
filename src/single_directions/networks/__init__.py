"""The three architectures of the paper: plain modules, each of which knows the sites that the paper ablates."""

from single_directions.networks.convnet import ConvNet
from single_directions.networks.mlp import MLP
from single_directions.networks.resnet import ResNet50

__all__ = ["MLP", "ConvNet", "ResNet50"]
