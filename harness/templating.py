"""Jinja's immutable sandbox as templates of strangers get it: stricter than Jinja's own.

Jinja answers many attempts to leave its sandbox with an undefined value, which prints as
nothing: the prompt then differs from the one that its author saw, and nobody is told. Here
every attempt is an error that names what was tried. For use in a child with limits only.
"""

from __future__ import annotations

from typing import Any, NoReturn

from jinja2 import FunctionLoader
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment


class StrictSandbox(ImmutableSandboxedEnvironment):
    """No private attribute, no change of what is given, no other file, nothing random."""

    def __init__(self, **options: Any) -> None:
        super().__init__(loader=FunctionLoader(_refuse_file), **options)
        # The same conversation has to give the same prompt.
        del self.globals["lipsum"], self.filters["random"]

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        """Refuse what Jinja would let pass as undefined."""
        raise SecurityError(f"it reaches for {attribute!r} of a {type(obj).__name__}")


def _refuse_file(name: str) -> NoReturn:
    raise SecurityError(f"it asks for the template file {name!r}")
