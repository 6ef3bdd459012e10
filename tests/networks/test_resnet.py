import pytest
import torch
import torchvision

from single_directions.ablation import resolve_sites
from single_directions.errors import BadInput
from single_directions.networks import ResNet50


def test_with_the_imagenet_stem_is_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(num_classes=5).eval()
    ours = ResNet50((3, 64, 64), 5).eval()
    ours.load_state_dict(theirs.state_dict())
    inputs = torch.randn(1, 3, 64, 64)
    assert torch.equal(ours(inputs), theirs(inputs))


@pytest.mark.parametrize(("stem", "size", "last"), [("imagenet", 64, 2), ("small", 64, 8), ("small", 8, 1)])
def test_stems_halve_the_image_five_or_three_times(stem: str, size: int, last: int) -> None:
    network = ResNet50((3, size, size), 5, stem=stem).eval()
    seen = []
    network.layer4.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    with torch.no_grad():
        network(torch.randn(1, 3, size, size))
    assert seen == [(1, 2048, last, last)]


@pytest.mark.parametrize("stem", ["imagenet", "small"])
def test_takes_any_number_of_channels(stem: str) -> None:
    network = ResNet50((2, 32, 32), 5, stem=stem).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 2, 32, 32)).shape == (1, 5)


def test_a_stem_of_its_own_starts_at_torchvisions_scale() -> None:
    torch.manual_seed(0)
    weight = ResNet50((3, 32, 32), 5, stem="small").conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)  # He et al., fan out


@pytest.mark.parametrize(("width", "units"), [(1.0, (512, 512, 2048)), (0.25, (128, 128, 512))])
def test_width_multiplies_the_feature_maps_of_every_block(width: float, units: tuple[int, ...]) -> None:
    network = ResNet50((3, 32, 32), 5, stem="small", width=width)
    sites = resolve_sites(network, network.default_sites, torch.randn(2, 3, 32, 32))
    assert tuple(site.units for site in sites) == units


def test_unknown_stem_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(BadInput, match=r"network\.stem must be one of imagenet, small, not tiny"):
        ResNet50((3, 32, 32), 10, stem="tiny")


@pytest.mark.parametrize(("stem", "least"), [("imagenet", 32), ("small", 8)])
def test_too_small_an_image_is_refused_with_the_least_size(stem: str, least: int) -> None:
    with pytest.raises(BadInput, match=f"at least {least} x {least} pixels, these have {least} x {least - 1}"):
        ResNet50((3, least, least - 1), 10, stem=stem)
