"""The 50-layer residual network of the paper's ImageNet experiments."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from single_directions.errors import BadInput
from single_directions.networks.fit import check_fit, check_width

# Least height and width: images are halved five times with the first stem, three times with the second.
STEMS = {"imagenet": 32, "small": 8}


class ResNet50(ResNet):
    """torchvision's ResNet-50, with the usual stem or one for small images.

    Inputs are (N, C, H, W), outputs logits (N, classes). `stem="imagenet"` begins with a 7 x 7 convolution of stride 2
    and a max pool (at least 32 pixels, made for 224), `"small"` with a 3 x 3 convolution of stride 1 (at least 8
    pixels, made for 64 or fewer). `width` multiplies the number of feature maps of every block. The default sites are
    the three ReLUs of the last block (Figure 1c). These are one module, so their names are those of graph nodes. Raises
    `BadInput` for arguments that do not fit.
    """

    default_sites = ("layer4.2.relu", "layer4.2.relu_1", "layer4.2.relu_2")

    def __init__(self, input_shape: Sequence[int], classes: int, stem: str = "imagenet", width: float = 1.0) -> None:
        if stem not in STEMS:
            raise BadInput(f"network.stem must be one of {', '.join(STEMS)}, not {stem}")
        channels, _, _ = check_fit(f"ResNet50 with stem={stem}", input_shape, classes, least=STEMS[stem])
        check_width(width)
        self.width = width
        super().__init__(Bottleneck, [3, 4, 6, 3], num_classes=classes)
        if width != 1:
            self.fc = nn.Linear(self.inplanes, classes)
        if stem == "small":
            self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        elif channels != 3:
            self.conv1 = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
        # torchvision initializes every convolution so.
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def _make_layer(self, block: type[Bottleneck], planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        return super()._make_layer(block, max(1, round(self.width * planes)), *args, **kwargs)
