"""What may stand in a configuration: unions, rules over several keys, and that nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config import (
    EmbeddedBroker,
    ExternalBroker,
    FolderCamera,
    Frame,
    LineConfig,
    Region,
    Section,
    SimulatedCamera,
    StreamCamera,
    Timing,
    Tls,
)
from pipeline.config_file import load_line, write_line
from pipeline.errors import ConfigError

MakeConfig = Callable[..., LineConfig]
STREAM = {
    "kind": "stream",
    "url": "rtsp://camera/1",
    "open_timeout_ms": 5000,
    "read_timeout_ms": 1000,
    "trigger": "every_frame",
}
EXTERNAL = {"kind": "external", "host": "broker", "port": 8883}


def external(**changes: Any) -> ExternalBroker:
    return ExternalBroker(**{**EXTERNAL, **changes})


def test_the_kind_chooses_the_camera(make_config: MakeConfig) -> None:
    simulated = make_config().camera
    folder = make_config({"camera": {"kind": "folder", "folder": "x", "rate_hz": None}}).camera
    stream = make_config({"camera": STREAM}).camera
    assert isinstance(simulated, SimulatedCamera)
    assert isinstance(folder, FolderCamera)
    assert isinstance(stream, StreamCamera)
    assert (simulated.simulated, folder.simulated, stream.simulated) == (True, True, False)
    assert (simulated.rate_hz, folder.rate_hz, stream.rate_hz) == (6, None, None)


def test_the_kind_chooses_the_broker(make_config: MakeConfig) -> None:
    assert isinstance(make_config().mqtt.broker, EmbeddedBroker)
    broker = make_config({"mqtt.broker": EXTERNAL}).mqtt.broker
    assert isinstance(broker, ExternalBroker)
    assert broker.host == "broker"


def test_a_silent_process_is_told_of_before_it_is_killed(make_config: MakeConfig) -> None:
    changes = {"supervision.silence_alarm_s": 2.0, "supervision.silence_timeout_s": 2.0}
    with pytest.raises(ConfigError, match=r"supervision: .*silence_alarm_s must be shorter than"):
        make_config(changes)
    changes["supervision.silence_timeout_s"] = 2.5
    assert make_config(changes).supervision.silence_alarm_s == 2.0


SPARKPLUG = {"group": "acme plant 1", "edge_node": "line-3"}


def test_sparkplug_needs_its_names(make_config: MakeConfig) -> None:
    assert make_config().mqtt.payload == "json"
    mqtt = make_config({"mqtt.payload": "sparkplug", "mqtt.sparkplug": SPARKPLUG}).mqtt
    assert mqtt.sparkplug is not None
    assert (mqtt.sparkplug.group, mqtt.sparkplug.device) == ("acme plant 1", "inspection")
    for half in ({"mqtt.payload": "sparkplug"}, {"mqtt.sparkplug": SPARKPLUG}):
        with pytest.raises(ConfigError, match="payload: sparkplug and the section sparkplug go"):
            make_config(half)


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a/b", "a+", "#", "a\nb", "x" * 101])
@pytest.mark.parametrize("key", ["group", "edge_node", "device"])
def test_names_that_no_topic_can_hold_are_refused(
    make_config: MakeConfig, key: str, name: str
) -> None:
    names = {**SPARKPLUG, key: name}
    with pytest.raises(ConfigError, match=rf"sparkplug\.{key}"):
        make_config({"mqtt.payload": "sparkplug", "mqtt.sparkplug": names})


def sections(section: Section, path: str = "") -> list[tuple[str, Section]]:
    found = [(path or "(the line)", section)]
    for name in type(section).model_fields:
        inner = getattr(section, name)
        if isinstance(inner, Section):
            found += sections(inner, f"{path}.{name}".lstrip("."))
    return found


def test_nothing_in_a_configuration_can_be_changed(make_config: MakeConfig) -> None:
    config = make_config({"mqtt.broker": {**EXTERNAL, "tls": {"ca_file": "ca.pem"}}})
    found = sections(config)
    assert {"camera", "frame", "stages.segmentation", "mqtt.broker.tls"} <= {p for p, _ in found}
    for path, section in found:
        for name in type(section).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, name, getattr(section, name))
            value = getattr(section, name)
            assert not isinstance(value, list | dict | set), f"{path}.{name} can be changed"


@pytest.mark.parametrize(
    "region",
    [(1, 0, 100, 50), (0, 1, 100, 50), (0, 0, 101, 50), (0, 0, 100, 51), (100, 50, 16, 16)],
)
def test_a_region_must_lie_inside_the_frame(region: tuple[int, int, int, int]) -> None:
    x, y, width, height = region
    box = Region(x=x, y=y, width=width, height=height)
    with pytest.raises(ValidationError, match="region must lie inside the frame of 100 x 50"):
        Frame(colour="grey", bit_depth=8, size_px=(50, 100), region=box, input_px=(64, 64))
    any_size = Frame(colour="grey", bit_depth=8, size_px="any", region=box, input_px=(64, 64))
    assert any_size.region == box


def test_a_region_may_fill_the_frame() -> None:
    box = Region(x=0, y=0, width=100, height=50)
    frame = Frame(colour="grey", bit_depth=8, size_px=(50, 100), region=box, input_px=(64, 64))
    assert frame.region == box


def test_the_margin_leaves_time_before_the_deadline() -> None:
    assert Timing(deadline_ms=100, margin_ms=99).margin_ms == 99
    with pytest.raises(ValidationError, match="margin_ms must be smaller than deadline_ms"):
        Timing(deadline_ms=100, margin_ms=100)


def test_a_password_comes_from_one_place_and_belongs_to_a_user() -> None:
    assert external(user="u", password_env="P").password_env == "P"
    with pytest.raises(ValidationError, match="not both"):
        external(user="u", password_env="P", password_file=Path("p"))
    with pytest.raises(ValidationError, match="a password needs a user"):
        external(password_env="P")


def test_a_certificate_needs_its_key() -> None:
    ca, own = Path("ca.pem"), Path("own.pem")
    assert Tls(ca_file=ca, certificate_file=own, key_file=own).key_file is not None
    with pytest.raises(ValidationError, match="go together"):
        Tls(ca_file=ca, certificate_file=own)
    with pytest.raises(ValidationError, match="go together"):
        Tls(ca_file=ca, key_file=own)


@pytest.mark.parametrize(
    "topic", ["", "x", "/a/b", "a/b/", "a/+/b", "a/#", "$SYS/a", "a b", "a" * 201]
)
def test_topic_roots_that_mqtt_would_misread_are_refused(
    make_config: MakeConfig, topic: str
) -> None:
    with pytest.raises(Exception, match=r"mqtt\.topic_root"):
        make_config({"mqtt.topic_root": topic})


def test_a_run_folder_that_no_socket_fits_in_is_refused(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    longest = "/tmp/" + "x" * 62
    assert make_config({"run_folder": longest}).run_dir == Path(longest)
    with pytest.raises(Exception, match="at most 67 bytes"):
        make_config({"run_folder": longest + "x"})
    with pytest.raises(Exception, match="at most 67 bytes"):
        make_config({"run_folder": "/tmp/" + "ü" * 32})


def test_folders_of_the_line(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config({"run_folder": None})
    assert config.log_folder == tmp_path / "data" / "log"
    assert config.ledger_folder == tmp_path / "data" / "ledger"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/someone")
    assert config.run_dir.parent.parent == Path("/run/someone")
    assert config.run_dir.name == "line_3"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert config.run_dir.is_absolute()


def test_the_paradigm_is_the_bundles_own_unless_the_line_names_another(
    make_config: MakeConfig,
) -> None:
    silent = make_config().reconstruction
    named = make_config({"reconstruction.paradigm": "ddim"}).reconstruction
    assert silent.paradigm is None
    assert silent.other_than("norm_guided") is None
    assert (named.other_than("norm_guided"), named.other_than("ddim")) == ("ddim", None)


def test_steps_and_eta_of_ddim_make_another_way_of_scoring(make_config: MakeConfig) -> None:
    ddim = {"reconstruction.paradigm": "ddim"}
    few = make_config(ddim | {"reconstruction.ddim_steps": 10}).reconstruction
    noisy = make_config(ddim | {"reconstruction.ddim_eta": 0.5}).reconstruction
    both = {"reconstruction.ddim_steps": 10, "reconstruction.ddim_eta": 0}
    assert few.other_than("norm_guided") == few.other_than("ddim") == "ddim with ddim_steps 10"
    assert noisy.other_than("ddim") == "ddim with ddim_eta 0.5"
    named = make_config(ddim | both).reconstruction.other_than("ddim")
    assert named == "ddim with ddim_steps 10, ddim_eta 0.0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reconstruction.ddim_steps": 10}, r"reconstruction: .*ddim_steps only with paradigm: d"),
        (
            {"reconstruction.ddim_eta": 0.0, "reconstruction.paradigm": "one_step"},
            "ddim_eta only with paradigm: ddim",
        ),
        ({"reconstruction.ddim_steps": 0, "reconstruction.paradigm": "ddim"}, "ddim_steps"),
        ({"reconstruction.ddim_eta": 1.5, "reconstruction.paradigm": "ddim"}, "ddim_eta"),
    ],
)
def test_settings_of_ddim_that_make_no_sense_are_refused(
    make_config: MakeConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(changes)


def test_an_unknown_paradigm_is_refused_with_those_that_there_are(make_config: MakeConfig) -> None:
    with pytest.raises(
        ConfigError, match=r"reconstruction\.paradigm: .*'norm_guided'.*'iterative'"
    ):
        make_config({"reconstruction.paradigm": "teleport"})


RECIPES = [
    {"name": "cap_b", "bundle": "/b/bundle", "calibration": "/b/calibration"},
    {"name": "cap_c", "bundle": "/c/bundle", "calibration": "/c/calibration"},
]


def test_a_recipe_takes_the_place_of_model_and_calibration(make_config: MakeConfig) -> None:
    plain = make_config({"recipes": RECIPES})
    assert (plain.recipe, plain.model.bundle) == ("default", make_config().model.bundle)
    for config in (
        plain.with_recipe("cap_b"),
        make_config({"recipes": RECIPES, "recipe": "cap_b"}),
    ):
        assert config.recipe == "cap_b"
        assert (config.model.bundle, config.calibration.folder) == (
            Path("/b/bundle"),
            Path("/b/calibration"),
        )
        assert config.model.device == plain.model.device


def test_every_recipe_leads_to_every_other_and_back(make_config: MakeConfig) -> None:
    plain = make_config({"recipes": RECIPES})
    there = plain.with_recipe("cap_b").with_recipe("cap_c").with_recipe("cap_b")
    back = there.with_recipe("default")
    assert (back.model, back.calibration, back.recipe) == (
        plain.model,
        plain.calibration,
        "default",
    )
    with pytest.raises(ConfigError, match=r"no recipe 'cap_d'; the line has default, cap_b, cap_c"):
        there.with_recipe("cap_d")


def test_a_line_that_is_written_with_its_recipe_is_read_the_same(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    plain = make_config({"recipes": RECIPES})
    for config in (plain, plain.with_recipe("cap_b"), plain.with_recipe("default")):
        write_line(config, tmp_path / "line.yaml")
        assert load_line(tmp_path / "line.yaml") == config


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"recipes": [RECIPES[0], RECIPES[0]]}, "cap_b stands there twice"),
        ({"recipes": RECIPES, "recipe": "cap_d"}, "'cap_d' is not in the list of recipes"),
        ({"recipes": [{**RECIPES[0], "name": "default"}]}, "default is what model and calibration"),
        ({"recipes": [{**RECIPES[0], "name": "a b"}]}, r"recipes\.0\.name"),
    ],
)
def test_recipes_that_cannot_be_told_apart_are_refused(
    make_config: MakeConfig, changes: dict[str, Any], mistake: str
) -> None:
    with pytest.raises(ConfigError, match=mistake):
        make_config(changes)
