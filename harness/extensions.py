"""Built-in and third-party backends, found by name and imported on use.

`HARNESS_PLUGINS=none` leaves third-party ones out.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping

from harness.errors import PrerequisiteError, SpecError, did_you_mean


def targets(built_in: Mapping[str, str], group: str) -> dict[str, str]:
    """All `name → module:attribute` of a group; built-ins cannot be replaced."""
    found = {}
    if os.environ.get("HARNESS_PLUGINS") != "none":
        # Not at the top: the measured child imports this module and never asks.
        from importlib.metadata import entry_points

        found = {point.name: point.value for point in entry_points(group=group)}
    return {**found, **built_in}


def target(name: str, built_in: Mapping[str, str], group: str) -> str:
    """`module:attribute` of one name.

    Raises:
        SpecError: the name is not known.
    """
    known = targets(built_in, group)
    if name not in known:
        raise SpecError(
            f"unknown {group.removeprefix('harness.').rstrip('s')} '{name}'"
            f"{did_you_mean(name, known)}",
            allowed=", ".join(sorted(known)),
            reason="unknown_name",
        )
    return known[name]


def load(path: str) -> type:
    """Import `module:attribute`.

    Raises:
        PrerequisiteError: the module or one that it needs is not installed.
    """
    module_name, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise PrerequisiteError(
            f"cannot import {module_name}: {error}", reason="engine_missing"
        ) from error
    if not isinstance(found, type):
        raise SpecError(f"{path} is not a class", reason="bad_extension")
    return found
