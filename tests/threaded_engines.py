"""Fake engines on a virtual clock whose speed depends on their number of threads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.backends.base import LoadReport, Step
from harness.backends.fake import FakeBackend
from harness.errors import CapabilityError
from harness.spec import BackendOptions

DECODE_S = {1: 0.008, 2: 0.004, 4: 0.0039}
PREFILL_S_PER_TOKEN = {1: 0.008, 2: 0.004, 4: 0.002}


class TwoPools(FakeBackend):
    """One pool of threads for each of prefill and decode."""

    def load(self, path: Path, options: BackendOptions) -> LoadReport:
        """Take the speeds of these numbers of threads."""
        report = super().load(path, options)
        self.threads, self.threads_prefill = self.pools(options)
        self._model = dataclasses.replace(
            self._model,
            step_s=DECODE_S[self.threads],
            prefill_s_per_token=PREFILL_S_PER_TOKEN[self.threads_prefill],
        )
        return report

    def pools(self, options: BackendOptions) -> tuple[int, int]:
        """Threads that are used for decode and for prefill."""
        return options.threads, options.threads_prefill

    def describe(self) -> dict[str, str]:
        """Report both numbers, as an engine with two pools does."""
        used = {"threads": self.threads, "threads_prefill": self.threads_prefill}
        return super().describe() | {name: str(count) for name, count in used.items()}


class OnePool(TwoPools):
    """Uses the threads for decode for both, and reports one number."""

    def pools(self, options: BackendOptions) -> tuple[int, int]:
        """Two numbers that cannot differ."""
        return options.threads, options.threads

    def describe(self) -> dict[str, str]:
        """The one number."""
        facts = super().describe()
        del facts["threads_prefill"]
        return facts


class PromptsOnly(TwoPools):
    """Cannot decode token by token."""

    def step(self, token: int, *, sample: bool = True) -> Step:
        """Refuse."""
        raise CapabilityError("no steps")
