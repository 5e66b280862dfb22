import pytest
import torch

from stages.segmentation.network import SegmentationNetwork, SegmentationSizes

SIZES = {"widths": (8, 16), "unshuffle": 2, "groups": 4, "difference": True}


def network(**changes: object) -> SegmentationNetwork:
    torch.manual_seed(0)
    return SegmentationNetwork(3, SegmentationSizes(**{**SIZES, **changes})).eval()


@pytest.mark.parametrize("groups", [0, 4])
@pytest.mark.parametrize("difference", [False, True])
def test_one_logit_a_pixel(groups: int, difference: bool) -> None:
    image, reconstruction = torch.rand(2, 3, 16, 24), torch.rand(2, 3, 16, 24)
    logits = network(groups=groups, difference=difference)(image, reconstruction)
    assert logits.shape == (2, 1, 16, 24)
    assert float(logits.detach().std()) > 0


def test_it_sees_both_images() -> None:
    image, reconstruction = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    comparison = network()
    logits = comparison(image, reconstruction)
    assert not torch.allclose(logits, comparison(image, image))
    assert not torch.allclose(logits, comparison(reconstruction, reconstruction))


def test_logits_keep_float32_under_autocast() -> None:
    image = torch.rand(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network()(image, 1 - image)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_every_weight_learns() -> None:
    trained = network().train()
    image = torch.rand(2, 3, 16, 16)
    trained(image, 1 - image).square().mean().backward()
    idle = [name for name, weight in trained.named_parameters() if weight.grad is None]
    assert idle == []


def test_folding_batch_norms_away_changes_nothing_but_the_digits() -> None:
    comparison = network(groups=0)
    for module in comparison.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after a training
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 2.0)
            torch.nn.init.normal_(module.bias, std=0.3)
    image, reconstruction = torch.rand(2, 3, 16, 24), torch.rand(2, 3, 16, 24)
    before = comparison(image, reconstruction)

    comparison.fold_norms()

    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in comparison.modules())
    after = comparison(image, reconstruction)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_group_norms_cannot_be_folded_and_stay() -> None:
    comparison = network(groups=4)
    comparison.fold_norms()
    norms = [module for module in comparison.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert norms
