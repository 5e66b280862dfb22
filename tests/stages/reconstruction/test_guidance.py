import pytest
import torch

from stages.reconstruction.diffusion import predict_x_0, q_sample
from stages.reconstruction.guidance import agreeing_blend, guided_eps, norm_guided_blend
from stages.reconstruction.schedule import make_schedule


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0, 3.0])
def test_the_blend_equals_equations_7_and_8(w: float) -> None:
    generator = torch.Generator().manual_seed(5)
    x_ts, eps, n = (
        torch.randn(3, 1, 8, 8, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    alpha_bar = make_schedule().alpha_bar(torch.tensor([10, 200, 300])).double()
    n_ts = q_sample(n, eps, alpha_bar)
    by_equations = predict_x_0(x_ts, guided_eps(eps, x_ts, n_ts, alpha_bar, w), alpha_bar)
    by_blend = norm_guided_blend(predict_x_0(x_ts, eps, alpha_bar), n, alpha_bar, w)
    torch.testing.assert_close(by_blend, by_equations, rtol=0, atol=1e-12)


def test_without_weight_there_is_no_guidance() -> None:
    x_fine, n = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    alpha_bar = torch.tensor(0.5)
    assert torch.equal(norm_guided_blend(x_fine, n, alpha_bar, 0.0), x_fine)
    assert torch.equal(guided_eps(x_fine, n, x_fine, alpha_bar, 0.0), x_fine)


def texture(side: int = 48) -> torch.Tensor:
    return 0.2 * torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(6))


def test_normal_detail_that_the_coarse_estimate_loses_is_taken_from_the_fine_one() -> None:
    """A third of the detail is lost all over the part: that is the usual error."""
    x_fine = texture()
    assert torch.equal(agreeing_blend(x_fine, 0.67 * x_fine), x_fine)


@pytest.mark.parametrize("detailed_px", [12, 24, 36])
def test_detail_beside_a_smooth_background_is_normal_too(detailed_px: int) -> None:
    shade = torch.tensor([-0.9, 0.1, 0.9])[:, None, None]  # a colour is no detail
    x_fine = texture() + shade
    x_fine[..., detailed_px:] = shade
    assert torch.equal(agreeing_blend(x_fine, shade + 0.67 * (x_fine - shade)), x_fine)


@pytest.mark.parametrize("kept", [0.5, 0.75, 1.0])
def test_an_anomaly_that_only_the_fine_estimate_keeps_is_left_out(kept: float) -> None:
    normal = texture()
    x_fine, n = normal.clone(), 0.67 * normal
    x_fine[1, :, 10:26, 10:26] += kept

    found = agreeing_blend(x_fine, n)

    left = (found - n)[1, :, 13:23, 13:23].mean().item()
    assert abs(left) < 0.045 / kept  # the stronger it is, the less is left
    far = torch.ones(48, 48, dtype=torch.bool)
    far[6:30, 6:30] = False
    assert torch.equal(found[1, :, far], x_fine[1, :, far])
    assert torch.equal(found[0], x_fine[0])  # one image of a batch is nothing to another


def test_blank_images_and_equal_estimates_stay_as_they_are() -> None:
    blank, grey = torch.full((2, 1, 16, 16), 0.3), texture()[:, :1]
    assert torch.equal(agreeing_blend(blank, blank), blank)
    assert torch.equal(agreeing_blend(grey, grey), grey)


def test_the_blend_lies_between_its_estimates() -> None:
    generator = torch.Generator().manual_seed(8)
    x_fine, n = (torch.rand(2, 1, 20, 12, generator=generator) * 2 - 1 for _ in range(2))
    x_fine[0, ..., :6] = 1
    n[0] = -1
    found = agreeing_blend(x_fine, n)
    assert bool((found >= torch.minimum(x_fine, n) - 1e-6).all())
    assert bool((found <= torch.maximum(x_fine, n) + 1e-6).all())
