import numpy as np
import pytest
import torch

from stages.reconstruction.schedule import make_schedule


def test_linear_has_the_published_values() -> None:
    schedule = make_schedule()
    oracle = np.exp(np.cumsum(np.log1p(-np.linspace(1e-4, 2e-2, 1000))))
    assert schedule.steps == 1000
    assert schedule.betas[0].item() == pytest.approx(1e-4)
    assert schedule.betas[-1].item() == pytest.approx(2e-2)
    assert schedule.alpha_bars[0].item() == pytest.approx(0.9999)
    np.testing.assert_allclose(schedule.alpha_bars.numpy(), oracle, rtol=1e-6)


def test_linear_end_is_configurable() -> None:
    paper = make_schedule("linear", beta_end=1e-2)
    assert paper.betas[-1].item() == pytest.approx(1e-2)
    assert bool((paper.alpha_bars[1:] > make_schedule().alpha_bars[1:]).all())


def test_cosine_follows_its_curve() -> None:
    schedule = make_schedule("cosine")
    t = np.arange(1, 1001) / 1000
    curve = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule.alpha_bars[:-1].numpy(), curve[:-1], rtol=1e-5)
    assert schedule.betas[-1].item() == pytest.approx(0.999)  # limited: the curve ends at 0


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_tensors_are_float32_and_fall(name: str) -> None:
    schedule = make_schedule(name)
    assert schedule.betas.dtype == schedule.alpha_bars.dtype == torch.float32
    assert bool((schedule.alpha_bars.diff() < 0).all())
    assert bool((schedule.alpha_bars > 0).all())


def test_lookup_shapes_and_the_step_before_the_first() -> None:
    schedule = make_schedule()
    alpha_bar = schedule.alpha_bar(torch.tensor([-1, 0, 200]))
    assert alpha_bar.shape == (3, 1, 1, 1)
    assert alpha_bar.flatten().tolist() == [1.0, *schedule.alpha_bars[[0, 200]].tolist()]
    assert torch.equal(schedule.beta(torch.tensor([5])).flatten(), schedule.betas[5:6])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "square"}, "cosine"),
        ({"beta_end": 1e-4}, "beta_end"),
        ({"beta_end": 1.0}, "beta_end"),
        ({"steps": 1}, "at least 2"),
    ],
)
def test_wrong_values_are_refused(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_schedule(**arguments)
