"""Convolutions as a CPU runs them fastest: with their weights laid out once, at the first call.

PyTorch rearranges the weights of a convolution at every call. oneDNN, which computes it, need not;
PyTorch reaches that by operations that its own compiler uses. Which layout is wanted depends on the
size of the input: from that for another size oneDNN has no fast way, and a 1 x 1 convolution that
takes a tenth of a millisecond then takes six. Without AVX-512 oneDNN lays weights out for a way of
computing that is up to 25 times slower on small images than channels_last: there they stay as they
are.

oneDNN would also compute a ReLU in the same pass, but its own makes 0 of NaN: a network gone wrong
would then give scores as if nothing were the matter. PyTorch's keeps it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses

_OPERATIONS = (
    "_reorder_convolution_weight",
    "_convolution_pointwise",
    "_is_mkldnn_bf16_supported",
)


class ConvRelu(nn.Conv2d):
    """A convolution and the ReLU after it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x), inplace=True)


def with_relu(conv: nn.Conv2d) -> ConvRelu:
    """The same convolution, of stride 1, with a ReLU after it; both share their weights."""
    (height, width), (down, across) = conv.kernel_size, _pair(conv.padding)
    with torch.device("meta"):  # sizes only
        both = ConvRelu(
            conv.in_channels, conv.out_channels, (height, width), padding=(down, across)
        )
    both.weight, both.bias = conv.weight, conv.bias
    return both


class PackedConv(nn.Module):
    """A convolution with its weights as oneDNN wants them: (B, C, H, W) -> (B, C', H', W').

    They are laid out for each shape when an input of this shape comes for the first time: what an
    image gives does not depend on those before it. Input is rounded to the type of the
    weights, as autocast does; the output is channels_last.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self._window = (_pair(conv.padding), _pair(conv.stride), _pair(conv.dilation), conv.groups)
        self._relu = isinstance(conv, ConvRelu)
        self._dtype = conv.weight.dtype
        self._bias = conv.bias
        self._weight = conv.weight.detach()
        self._laid_out: dict[tuple[int, ...], Tensor] = {}
        self._lays_out = _lays_weights_out()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
            x.to(self._dtype), self._weight_for(x), self._bias, *self._window, "none", [], ""
        )
        return F.relu(out, inplace=True) if self._relu else out

    def _weight_for(self, x: Tensor) -> Tensor:
        if not self._lays_out:
            return self._weight
        shape = tuple(x.shape)
        if shape not in self._laid_out:
            reorder = torch.ops.mkldnn._reorder_convolution_weight
            self._laid_out[shape] = reorder(self._weight, *self._window, list(shape))
        return self._laid_out[shape]


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has oneDNN and the operations that are used here, and this CPU runs them
    on `dtype`: bfloat16 needs AVX-512.
    """
    found = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch's own
    known = bool(found) and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATIONS)
    return known and (dtype != torch.bfloat16 or _bfloat16_runs())


def _bfloat16_runs() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _lays_weights_out() -> bool:
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def pack(network: nn.Module) -> None:
    """For inference on a CPU: replaces every plain convolution of a network, and every ConvRelu; a
    subclass with a way of its own stays. It cannot be moved, trained or saved afterwards.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and type(child) in (nn.Conv2d, ConvRelu):
                setattr(module, name, PackedConv(child))


def _pair(values: tuple[int, ...] | str) -> list[int]:
    assert not isinstance(values, str)
    return list(values)
