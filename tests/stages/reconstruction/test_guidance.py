import pytest
import torch

from stages.reconstruction.diffusion import predict_x_0, q_sample
from stages.reconstruction.guidance import guided_eps, norm_guided_blend
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
