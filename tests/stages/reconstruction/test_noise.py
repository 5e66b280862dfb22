import pytest
import torch

from stages.reconstruction.noise import NoiseFields

SHAPE = (8, 16, 3)


def test_the_two_scales_are_one_draw_of_the_seed() -> None:
    """Calibrations of shipped bundles hold for these very values."""
    fields = NoiseFields(7, SHAPE)
    oracle = torch.randn((2, 3, 8, 16), generator=torch.Generator().manual_seed(7))
    assert torch.equal(fields[0], oracle[0])
    assert torch.equal(fields[1], oracle[1])
    assert not torch.equal(fields[0], fields[1])
    assert fields[0].dtype == torch.float32


def test_another_seed_gives_other_fields() -> None:
    for index in (0, 1, 2, 399):
        assert not torch.equal(NoiseFields(7, SHAPE)[index], NoiseFields(8, SHAPE)[index])


def test_further_fields_depend_on_seed_and_number_alone() -> None:
    forwards, backwards = NoiseFields(7, SHAPE), NoiseFields(7, SHAPE)
    numbers = [0, 1, 2, 3, 200, 402]
    there = [forwards[number] for number in numbers]
    back = [backwards[number] for number in reversed(numbers)][::-1]
    assert all(torch.equal(one, other) for one, other in zip(there, back, strict=True))
    assert all(field.shape == (3, 8, 16) for field in there)


def test_further_fields_are_standard_normal_and_independent() -> None:
    noise = NoiseFields(3, (64, 64, 1))
    fields = torch.stack([noise[number] for number in range(40)]).flatten(1)
    assert fields.mean(dim=1).abs().max().item() < 5 / 64  # five deviations of a mean of 64 x 64
    assert (fields.var(dim=1) - 1).abs().max().item() < 0.12
    assert (torch.corrcoef(fields) - torch.eye(40)).abs().max().item() < 6 / 64


def test_fields_are_numbered_from_0_on() -> None:
    with pytest.raises(AssertionError):
        NoiseFields(7, SHAPE)[-1]
