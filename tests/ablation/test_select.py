import pytest
import torch

from single_directions.ablation.select import select


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int32])
@pytest.mark.parametrize("value", [0, 2])
def test_is_where(dtype: torch.dtype, value: int) -> None:
    generator = torch.Generator().manual_seed(0)
    otherwise = torch.randn(3, 4, 5, 2, generator=generator).mul(10).to(dtype)
    if dtype.is_floating_point:
        otherwise[0, 0, 0] = torch.tensor([torch.nan, torch.inf])
    mask = torch.rand(3, 4, 10, generator=generator)[..., ::2].unsqueeze(-1) < 0.5  # not contiguous
    values = torch.full((1, 1, 5, 1), value, dtype=dtype)
    values[..., 1, :] = -value
    expected = torch.where(mask, values, otherwise)
    for zero in (False, True)[: 1 + (value == 0)]:
        found = select(mask, values, otherwise, zero)
        assert torch.equal(found.nan_to_num(), expected.nan_to_num())
        assert torch.equal(found.isnan(), expected.isnan())
