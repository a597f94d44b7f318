"""The Python packages of this environment as a CycloneDX document, by its own library's form.

CycloneDX 1.6, JSON, only what identifies a package: name, version, package URL.
"""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import harness
from harness.durable import write_whole


def write_sbom(path: Path) -> None:
    """Write the document; the same environment gives the same bytes.

    Raises:
        RecordError: it cannot be written.
    """
    found = {
        (_name(package.metadata["Name"]), package.version) for package in metadata.distributions()
    }
    value = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "name": "sllm-harness",
                "version": harness.__version__,
            },
            "properties": [
                {"name": "python", "value": platform.python_version()},
                {"name": "implementation", "value": platform.python_implementation()},
            ],
        },
        "components": [
            {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{quote(name)}@{quote(version)}",
            }
            for name, version in sorted(found)
        ],
    }
    write_whole(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def _name(name: str) -> str:
    """Normalised as package indices compare names (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")
