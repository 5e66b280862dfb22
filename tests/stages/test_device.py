import pytest
import torch

from pipeline.errors import ConfigError
from stages.device import choose_device, compute_dtype, set_threads

CPU = torch.device("cpu")


def test_names_of_devices() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:one", "cuda:-1", "cpu:0"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="use auto, cpu, or cuda:0"):
        choose_device(name)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cuda:99.* sees \d+ CUDA"):
        choose_device("cuda:99")


def test_openvino_is_a_cpu_where_its_package_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.device.find_spec", lambda name: object())
    assert choose_device("openvino") == CPU
    monkeypatch.setattr("stages.device.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"openvino is not installed here: .*\[openvino\]"):
        choose_device("openvino")


def test_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compute_dtype(CPU, "float32") == torch.float32
    assert compute_dtype(CPU, "bfloat16") == torch.bfloat16
    for flags, dtype in [
        ({"avx2", "avx512f"}, torch.float32),
        ({"avx2", "avx512_bf16"}, torch.bfloat16),
        ({"amx_bf16", "amx_tile"}, torch.bfloat16),
        (set(), torch.float32),
    ]:
        monkeypatch.setattr("stages.device._cpu_flags", lambda flags=flags: flags)
        assert compute_dtype(CPU) == dtype


def test_threads_are_set(threads: object) -> None:
    set_threads(1)
    assert torch.get_num_threads() == 1
