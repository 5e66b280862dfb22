"""The lane of OpenVINO: the function's results in order, each image by itself."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.device import compute_dtype
from stages.execution import Execution
from stages.reconstruction.paradigms import in_image_range
from stages.segmentation.anomaly import proven_score

pytest.importorskip("openvino", reason="needs the package openvino, which is optional")

from stages.lanes.openvino import OpenVinoLane

ROW = np.zeros((8, 12, 3), np.uint8)
native_bfloat16 = pytest.mark.skipif(
    compute_dtype(torch.device("cpu")) != torch.bfloat16,
    reason="this processor does not compute in bfloat16",
)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def halved(images: Tensor) -> tuple[Tensor, Tensor]:
    """Half of each pixel, rounded to float16, and each row's mean."""
    half = images.float() / 2
    return half.half().permute(0, 2, 3, 1), half.mean(dim=(1, 2, 3))


def batch(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *ROW.shape), dtype=np.uint8)


def lane(function, *rows: np.ndarray, precision="float32", finish=None) -> OpenVinoLane:
    return OpenVinoLane(Execution("openvino", precision), function, rows or (ROW,), finish)


@pytest.mark.parametrize("on", [1, 2])
def test_batches_come_out_in_order_and_in_the_types_of_the_function(threads, on):
    halving = lane(halved)
    threads(on)
    for count in (1, 5, 2):
        images = batch(count)
        flight = halving.submit(images)
        assert flight.arrived()
        halves, means = flight.land()
        assert (halves.dtype, means.dtype) == (np.float16, np.float32)
        np.testing.assert_array_equal(halves, images / 2)
        np.testing.assert_allclose(means, images.mean(axis=(1, 2, 3)) / 2, rtol=1e-5)


def test_what_is_landed_stays_as_it_is():
    halving = lane(halved)
    first = halving.submit(batch(2)).land()[0]
    halving.submit(batch(3))
    np.testing.assert_array_equal(first, batch(2) / 2)


def test_inputs_of_other_types_and_strides_are_taken():
    def apart(images: Tensor, others: Tensor) -> tuple[Tensor]:
        return ((images.float() - others.float()).permute(0, 2, 3, 1),)

    images, others = batch(4)[::-1], np.ones((4, *ROW.shape), np.float16)
    (found,) = lane(apart, ROW, ROW.astype(np.float16)).submit(images, others).land()
    np.testing.assert_array_equal(found, images.astype(np.float32) - 1)


def test_time_goes_into_computing_alone():
    upload_ms, compute_ms, download_ms = lane(halved).submit(batch(2)).timing()
    assert (upload_ms, download_ms) == (0.0, 0.0)
    assert compute_ms > 0.0


def test_float32_is_computed_in_float32():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3).requires_grad_(False)

    def convolved(images: Tensor) -> tuple[Tensor]:
        return (conv(images.float() / 255),)

    images = batch(3)
    expected = convolved(torch.from_numpy(images).permute(0, 3, 1, 2))[0].numpy()
    (found,) = lane(convolved).submit(images).land()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_what_is_not_a_number_shows_in_image_and_score():
    """OpenVINO's own clamp makes -1 of it, and its top K leaves it out."""

    def judged(images: Tensor) -> tuple[Tensor, Tensor]:
        broken = images.float() / (images.float() - 7)
        zero_by_zero = (images.float() - 7) * 0 / (images.float() - 7)
        estimate = in_image_range(broken + zero_by_zero)
        return estimate, proven_score(zero_by_zero.mean(dim=1), images.float(), 5)

    images = np.full((3, *ROW.shape), 200, np.uint8)
    images[1, 2, 3] = 7
    estimates, scores = lane(judged).submit(images).land()
    assert np.isnan(estimates).any(axis=(1, 2, 3)).tolist() == [False, True, False]
    assert np.isnan(scores).tolist() == [False, True, False]


@native_bfloat16
def test_what_finishes_is_not_rounded():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3).requires_grad_(False)

    def convolved(images: Tensor) -> tuple[Tensor]:
        return (conv(images.float() / 255),)

    weights = torch.full((ROW.size, 1), 1 + 2**-10)

    def weighed(images: Tensor) -> Tensor:
        """A product with weights that bfloat16 would round to 1."""
        return images.float().flatten(1) @ weights

    def all_at_once(images: Tensor) -> tuple[Tensor, Tensor]:
        return (*convolved(images), weighed(images))

    def finished(images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        return features, weighed(images)

    images = batch(3)
    exact = images.reshape(3, -1).sum(axis=1, keepdims=True) * (1 + 2**-10)
    with_finish = lane(convolved, precision="bfloat16", finish=finished)
    features, products = with_finish.submit(images).land()

    alone, rounded = lane(all_at_once, precision="bfloat16").submit(images).land()
    np.testing.assert_array_equal(features, alone)
    np.testing.assert_allclose(products, exact, rtol=1e-6)
    assert np.abs(rounded / exact - 1).max() > 5e-4


INTERRUPTED = """
import gc, os, signal
import subprocess
import sys

import numpy as np
from stages.execution import Execution
from stages.lanes.openvino import OpenVinoLane

def lane():
    found = OpenVinoLane(Execution("openvino", "float32"), lambda x: (x.float(),), (ROW,))
    found.submit(ROW[None]).land()
    return found

ROW = np.zeros((8, 12, 3), np.uint8)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins without
first, second = lane(), lane()
del first
gc.collect()
del second
gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_process_outlives_its_lanes_and_the_signals_after_them():
    """OpenVINO puts up a stack for signals, which must still be there when one comes."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
