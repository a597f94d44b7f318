"""The Job object: layouts of the headers, and the order of calls, on a recorded kernel32."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from harness.sandbox import windows


class Library:
    """Answers every call and notes it."""

    def __init__(self, calls: list[str], refuses: str = "") -> None:
        self.calls, self.refuses = calls, refuses
        self.limits = windows.ExtendedLimits()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == "SetInformationJobObject" and arguments[1] == 9:
                ctypes.memmove(ctypes.byref(self.limits), arguments[2], arguments[3])
            return 0 if name == self.refuses else 0x1_0000_0008

        # An attribute that can be given a result type, once and for all.
        self.__dict__[name] = call
        return call


def test_structures_have_the_size_of_the_headers() -> None:
    assert ctypes.sizeof(windows.BasicLimits) == 64
    assert ctypes.sizeof(windows.ExtendedLimits) == 144
    assert windows.BasicLimits.LimitFlags.offset == 16
    assert windows.BasicLimits.ActiveProcessLimit.offset == 40
    assert windows.ExtendedLimits.PeakJobMemoryUsed.offset == 136


def test_a_process_runs_only_when_it_is_in_its_job() -> None:
    calls: list[str] = []
    kernel = Library(calls)
    assert windows.contain(7, kernel, Library(calls)) == 0x1_0000_0008, "no handle is cut"
    assert calls.index("AssignProcessToJobObject") < calls.index("NtResumeProcess")
    assert calls.count("CloseHandle") == 1, "the job stays open"
    assert kernel.limits.Basic.ActiveProcessLimit == 1
    assert kernel.limits.Basic.LimitFlags == 0x2408


@pytest.mark.parametrize(
    "refused", ["CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"]
)
def test_a_process_without_a_job_still_runs(refused: str) -> None:
    calls: list[str] = []
    assert windows.contain(7, Library(calls, refused), Library(calls)) == 0
    assert calls.count("NtResumeProcess") == 1
    assert calls.count("CloseHandle") == (1 if refused == "CreateJobObjectW" else 2)
