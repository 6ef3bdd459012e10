"""The 11-layer convolutional network of the paper's CIFAR-10 experiments."""

from collections.abc import Sequence

from torch import nn

from single_directions.errors import BadInput
from single_directions.networks.fit import check_fit, check_width

# The paper says only "11-layer"; channels and strides are those of its later version.
CHANNELS = (64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512)
STRIDES = (1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1)
HEADS = ("flatten", "hidden", "pool")
HIDDEN = 256
"""Units of the hidden layer of `head="hidden"`, as in the paper's later version."""


class ConvNet(nn.Sequential):
    """Eleven 3 x 3 convolutions, each with batch norm and ReLU, and a linear head: conv1 bn1 relu1 ... relu11 head.

    Inputs are (N, C, H, W) with H and W of at least 8, outputs logits (N, classes). `width` multiplies every layer's
    number of feature maps. `head="flatten"` reads every position of the last convolution, `"hidden"` does so through
    256 ReLUs (fc relu12 head), and `"pool"` reads the mean of each feature map. The paper does not state its head; its
    later version has `"hidden"`. Default sites are the last three convolutions (Figure 1b). Raises `BadInput` for an
    argument that does not fit.
    """

    default_sites = ("relu9", "relu10", "relu11")

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        width: float = 1.0,
        batch_norm: bool = True,
        head: str = "flatten",
    ) -> None:
        super().__init__()
        # Three layers halve the image: below 8 pixels the last ones would see only padding around a single position.
        fan_in, height, breadth = check_fit("ConvNet", input_shape, classes, least=8)
        check_width(width)
        if head not in HEADS:
            raise BadInput(f"network.head must be one of {', '.join(HEADS)}, not {head}")

        for layer, (channels, stride) in enumerate(zip(CHANNELS, STRIDES, strict=True), start=1):
            maps = max(1, round(width * channels))
            # Batch norm subtracts the mean, and with it any bias.
            self.add_module(f"conv{layer}", nn.Conv2d(fan_in, maps, 3, stride, padding=1, bias=not batch_norm))
            if batch_norm:
                self.add_module(f"bn{layer}", nn.BatchNorm2d(maps))
            self.add_module(f"relu{layer}", nn.ReLU())
            fan_in = maps
            height, breadth = -(-height // stride), -(-breadth // stride)  # a stride rounds sizes up

        if head == "pool":
            self.add_module("pool", nn.AdaptiveAvgPool2d(1))
            height = breadth = 1
        self.add_module("flatten", nn.Flatten())
        features = fan_in * height * breadth
        if head == "hidden":
            self.add_module("fc", nn.Linear(features, HIDDEN))
            self.add_module("relu12", nn.ReLU())
            features = HIDDEN
        self.add_module("head", nn.Linear(features, classes))
        self._initialize()

    def _initialize(self) -> None:
        """He initialization, which keeps the scale of activations through layers of ReLUs.

        The paper does not state its own. With PyTorch's, eleven layers without batch norm do not train (Figure 4b).
        """
        for layer in self.children():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
