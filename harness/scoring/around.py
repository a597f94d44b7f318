"""The machine around a run's jobs: a look before and after them in every session. Pure.

A run that was interrupted and resumed has several sessions. All of them count for what speaks
against it: a machine that became slow in the first must not pass because the last was even.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from harness.spec import canonical

Json = dict[str, Any]


class Around(NamedTuple):
    """Environment records of a run, in order of its sessions.

    Attributes:
        before: one a session; the first is that of the run.
        after: one for each session that ended; the last one, if it is of the last session, is
            that of the run.
    """

    before: tuple[Mapping[str, Any], ...]
    after: tuple[Mapping[str, Any], ...]

    @property
    def ends(self) -> dict[str, Mapping[str, Any]]:
        """The first look `before` and the last one `after` the run, empty where not recorded."""
        last = self.after[-1] if self.after else {}
        ended = last and (not self.before or _session(last) >= _session(self.before[-1]))
        return {"before": self.before[0] if self.before else {}, "after": last if ended else {}}

    @property
    def environment(self) -> dict[str, Json]:
        """Facts of both ends, and the findings of all sessions once each."""
        out = {}
        for when, looks in (("before", self.before), ("after", self.after)):
            findings = {
                canonical(item): item for look in looks for item in look.get("findings", ())
            }
            out[when] = {
                "facts": self.ends[when].get("facts", {}),
                "findings": [findings[key] for key in sorted(findings)],
            }
        return out

    @property
    def calibration(self) -> dict[str, Json | None]:
        """Figures of the calibration kernel at both ends; None = not measured."""
        return {when: _calibration(look) for when, look in self.ends.items()}

    @property
    def calibrations(self) -> list[Json | None]:
        """Those of all sessions."""
        return [_calibration(look) for look in (*self.before, *self.after)]

    def grown(self, name: str) -> int:
        """How much a counter grew within sessions: between them the machine may have restarted."""
        ended = {_session(look): look.get("facts", {}).get(name) for look in self.after}
        spans = (
            (look.get("facts", {}).get(name), ended.get(_session(look))) for look in self.before
        )
        return sum(
            max(0, last - first)
            for first, last in spans
            if isinstance(first, int) and isinstance(last, int)
        )


def around(records: Iterable[Mapping[str, Any]]) -> Around:
    """A run's environment records, whatever their order in the file."""
    found: dict[str, list[Mapping[str, Any]]] = {"before": [], "after": []}
    for record in records:
        if record["type"] == "environment" and record.get("when") in found:
            found[record["when"]].append(record)
    ordered = {
        when: tuple(sorted(looks, key=lambda look: (_session(look), canonical(look))))
        for when, looks in found.items()
    }
    return Around(**ordered)


def _session(look: Mapping[str, Any]) -> int:
    return int(look.get("session", 0))


def _calibration(look: Mapping[str, Any]) -> Json | None:
    return dict(look["calibration"]) if look.get("calibration") else None
