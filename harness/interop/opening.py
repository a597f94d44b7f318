"""A model by id or path, opened by its engine in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness import environment, specfile
from harness.backends import BACKENDS
from harness.backends.base import Backend
from harness.errors import SpecError
from harness.extensions import load, target
from harness.models import resolve as artefacts
from harness.prepare import named_model
from harness.spec import DEFAULT_BACKEND, Artefact, BackendOptions, Model

CONTEXT_DEFAULT = 4096
"""Tokens of cache unless the caller or the model asks for less."""


def artefact(model: str | Path | Artefact, backend: str) -> Artefact:
    """The files of a model by id or path, for the backend asked for."""
    if not isinstance(model, Artefact):
        catalogue = specfile.load_catalogue(specfile.default_catalogue_path())
        entry = named_model(str(model), catalogue)
        model = artefacts.resolve(entry, Path(catalogue.path).parent)
    if backend and backend != model.model.backend_name:
        if backend in DEFAULT_BACKEND.values():
            raise SpecError(
                f"backend '{backend}' does not run format '{model.model.format}'",
                where=model.path,
                allowed=DEFAULT_BACKEND[model.model.format],
                reason="wrong_format",
            )
        model = dataclasses.replace(model, model=dataclasses.replace(model.model, backend=backend))
    return model


def pinned(options: BackendOptions, model: Model) -> BackendOptions:
    """Options with nothing left to an engine's default."""
    threads = options.threads or environment.default_threads(environment.observe())
    declared = model.context or CONTEXT_DEFAULT
    return dataclasses.replace(
        options,
        threads=threads,
        threads_prefill=options.threads_prefill or threads,
        context=options.context or min(declared, CONTEXT_DEFAULT),
    )


def opened(found: Artefact, options: BackendOptions) -> Backend:
    """The engine with the model loaded.

    Raises:
        SpecError: it returns no logits. BackendError: it refused the model.
    """
    module = target(found.model.backend_name, BACKENDS, "harness.backends")
    engine: Backend = load(module)()
    if not engine.capabilities.logits:
        raise SpecError(
            f"backend '{found.model.backend_name}' returns no logits", reason="no_logits"
        )
    engine.load(Path(found.path), options)
    return engine
