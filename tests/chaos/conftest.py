"""A PLC's view that hears nothing but what a test writes into it."""

from __future__ import annotations

import pytest

from chaos.view import Away, PlcView
from pipeline.config import LineConfig
from pipeline.config_file import line_file, load_line
from plc.access import access_of


@pytest.fixture(scope="session")
def config() -> LineConfig:
    return load_line(line_file(3))


@pytest.fixture
def view(config: LineConfig) -> PlcView:
    view = PlcView(config, access_of(config.mqtt))
    view.away = [Away(0.0, 1.0)]
    return view
