import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from single_directions import resolve_sites
from single_directions.errors import BadInput
from single_directions.networks import ConvNet


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def test_is_the_network_of_the_paper_at_full_width() -> None:
    network = ConvNet((3, 32, 32), 10)
    layers = convolutions(network)
    assert [layer.out_channels for layer in layers] == [64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512]
    assert [layer.stride[0] for layer in layers] == [1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1]
    assert {(layer.kernel_size, layer.padding) for layer in layers} == {((3, 3), (1, 1))}
    assert network.head.in_features == 512 * 4 * 4  # 32 pixels, halved three times


def test_layers_are_modules_of_their_own_names() -> None:
    names = [name for name, _ in ConvNet((3, 8, 8), 10, width=0.05).named_children()]
    expected = [f"{kind}{layer}" for layer in range(1, 12) for kind in ("conv", "bn", "relu")]
    assert names == [*expected, "flatten", "head"]


@pytest.mark.parametrize(("width", "first", "last"), [(0.5, 32, 256), (0.01, 1, 5), (1.5, 96, 768)])
def test_width_scales_the_feature_maps_down_to_one(width: float, first: int, last: int) -> None:
    layers = convolutions(ConvNet((1, 8, 8), 2, width=width))
    assert (layers[0].out_channels, layers[-1].out_channels) == (first, last)


def test_a_bias_stands_in_for_batch_norm() -> None:
    assert all(layer.bias is None for layer in convolutions(ConvNet((1, 8, 8), 2, width=0.05)))
    plain = ConvNet((1, 8, 8), 2, width=0.05, batch_norm=False)
    assert all(layer.bias is not None for layer in convolutions(plain))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())


@pytest.mark.parametrize("head", ["flatten", "hidden", "pool"])
def test_heads_fit_images_that_are_neither_square_nor_even(head: str) -> None:
    network = ConvNet((2, 9, 14), 3, width=0.1, head=head)
    assert network(torch.randn(2, 2, 9, 14)).shape == (2, 3)


def test_the_hidden_head_has_256_relus_before_the_logits() -> None:
    network = ConvNet((3, 32, 32), 10, width=0.25, head="hidden")
    names = [name for name, _ in network.named_children()][-4:]
    assert names == ["flatten", "fc", "relu12", "head"]
    assert (network.fc.in_features, network.head.in_features) == (128 * 4 * 4, 256)
    sites = resolve_sites(network, None, torch.randn(2, 3, 32, 32))
    assert [site.name for site in sites] == ["relu9", "relu10", "relu11"]


def test_the_pooled_head_reads_the_mean_of_each_feature_map() -> None:
    torch.manual_seed(0)
    network = ConvNet((1, 16, 16), 3, width=0.1, head="pool").eval()
    inputs = torch.randn(2, 1, 16, 16)
    maps = create_feature_extractor(network, ["relu11"])(inputs)["relu11"]
    assert torch.allclose(network(inputs), network.head(maps.mean((2, 3))), atol=1e-6)


def test_unknown_head_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(BadInput, match=r"network\.head must be one of flatten, hidden, pool, not mean"):
        ConvNet((3, 32, 32), 10, head="mean")


def test_too_small_an_image_is_refused_with_the_least_size() -> None:
    with pytest.raises(BadInput, match="at least 8 x 8 pixels, these have 7 x 32"):
        ConvNet((3, 7, 32), 10)
