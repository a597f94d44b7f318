"""Toy networks shared by the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.models.toys import toy_network

if TYPE_CHECKING:
    from harness.models.network import Network

os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Network]:
    """Return a factory of toy networks; its arguments replace fields of the config."""

    def make(**changes: Any) -> Network:
        return toy_network(tmp_path_factory.mktemp("toy"), **changes)

    return make


@pytest.fixture(scope="session")
def toy(make_toy: Callable[..., Network]) -> Network:
    """Two layers, random weights."""
    return make_toy()
