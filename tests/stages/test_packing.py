import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses

from stages import packing
from stages.execution import Execution
from stages.packing import ConvRelu, can_pack, pack, with_relu

packable = pytest.mark.skipif(not can_pack(torch.float32), reason="this PyTorch has no oneDNN")
TYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if can_pack(dtype)]
EXACT = {torch.float32: 1e-5, torch.bfloat16: 0.0}


def convolution(dtype: torch.dtype, **changes: object) -> nn.Conv2d:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3, **{"padding": 1, **changes}).to(dtype)  # type: ignore[arg-type]
    return conv.requires_grad_(False)


def picture(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 8, 12, 20).to(dtype).contiguous(memory_format=torch.channels_last)


def test_a_relu_belongs_to_the_convolution_and_shares_its_weights() -> None:
    conv = convolution(torch.float32)
    both = with_relu(conv)
    assert both.weight is conv.weight
    torch.testing.assert_close(both(picture()), F.relu(conv(picture())))


@packable
@pytest.mark.parametrize("laid_out", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "changes", [{}, {"stride": 2}, {"padding": 0}, {"groups": 2}, {"bias": False}]
)
def test_a_packed_convolution_gives_what_it_was_made_of(
    dtype: torch.dtype, changes: dict[str, object], laid_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_lays_weights_out", lambda: laid_out)
    conv = convolution(dtype, **changes)
    network = nn.Sequential(conv)
    pack(network)
    assert type(network[0]) is not nn.Conv2d
    with torch.inference_mode():
        expected, found = conv(picture(dtype)), network(picture(dtype))
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT[dtype])
    assert found.is_contiguous(memory_format=torch.channels_last)


@packable
def test_a_relu_is_packed_with_its_convolution() -> None:
    conv = convolution(TYPES[-1])
    network = nn.Sequential(nn.Sequential(with_relu(conv)))
    pack(network)
    assert not any(isinstance(module, ConvRelu) for module in network.modules())
    with torch.inference_mode():
        found = network(picture(TYPES[-1]))
        expected = F.relu(conv(picture(TYPES[-1])))
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT[TYPES[-1]])
    assert float(found.min()) == 0.0


@packable
@pytest.mark.parametrize("laid_out", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_not_a_number_does_not_become_one(
    dtype: torch.dtype, laid_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_lays_weights_out", lambda: laid_out)
    network = nn.Sequential(with_relu(convolution(dtype)))
    pack(network)
    x = picture(dtype)
    x[0, 0, 5, 5] = torch.nan
    with torch.inference_mode():
        assert network(x)[0, :, 4:7, 4:7].isnan().all()


@pytest.mark.skipif(torch.bfloat16 not in TYPES, reason="this CPU does not pack bfloat16")
def test_input_is_rounded_to_the_type_of_the_weights() -> None:
    conv = convolution(torch.bfloat16)
    network = nn.Sequential(conv)
    pack(network)
    with torch.inference_mode():
        assert torch.equal(network(picture()), conv(picture().bfloat16()))


@packable
def test_a_convolution_with_a_way_of_its_own_stays() -> None:
    class Negative(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return -super().forward(x)

    network = nn.Sequential(Negative(8, 16, 3), nn.ReLU())
    pack(network)
    assert [type(module) for module in network] == [Negative, nn.ReLU]


def test_a_network_in_bfloat16_runs_on_a_cpu_that_does_not_pack_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packing, "_bfloat16_runs", lambda: False)
    execution = Execution("cpu", "bfloat16")
    conv = convolution(torch.float32)
    expected = conv(picture())
    network = nn.Sequential(conv)
    execution.place(network)
    with execution.run():
        found = network(picture())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


@packable
def test_without_avx_512_weights_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    conv = convolution(torch.float32)
    network = nn.Sequential(conv)
    pack(network)
    assert network[0]._weight.data_ptr() == conv.weight.data_ptr()


TOLD_BY_ONEDNN = """
import torch
from torch import nn
from stages.packing import pack

torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(128, 384, 1)).to(torch.bfloat16).requires_grad_(False)
pack(network)
x = torch.randn(2, 128, 8, 8).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
with torch.inference_mode():
    network(x)
    print("again", flush=True)
    network(x)
"""


@pytest.mark.skipif(
    torch.bfloat16 not in TYPES or not packing._lays_weights_out(),
    reason="on this CPU no weights are laid out in bfloat16",
)
def test_weights_are_laid_out_once_for_the_size_that_comes() -> None:
    """Of oneDNN's layouts of such a convolution, that for no size in particular is another."""
    done = subprocess.run(
        [sys.executable, "-c", TOLD_BY_ONEDNN],
        env={**os.environ, "ONEDNN_VERBOSE": "profile_exec"},
        capture_output=True,
        text=True,
        check=True,
    )
    first, again = done.stdout.split("again")
    assert "exec,cpu,reorder" in first
    assert "exec,cpu,convolution" in again
    assert "reorder" not in again
