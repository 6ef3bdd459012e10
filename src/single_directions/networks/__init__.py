"""The three architectures of the paper. Each names the sites that the paper ablates in `default_sites`."""

from single_directions.networks.convnet import ConvNet
from single_directions.networks.mlp import MLP
from single_directions.networks.resnet import ResNet50

__all__ = ["MLP", "ConvNet", "ResNet50"]
