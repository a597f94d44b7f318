"""A Job object on Windows: one process, ended with its parent, without the user's desktop.

The worker is started suspended, put into a job and resumed, so that nothing of it ever
runs outside. That bounds processes and windows, not files or the network: it is part of
level 0. Numbers and layouts are those of <winnt.h> (64-bit). Untested on hardware: the
tests read the structures and run this on a recorded kernel32.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from typing import Any, Final

_CREATE_SUSPENDED: Final = 0x4
_SET_QUOTA_AND_TERMINATE, _SUSPEND_RESUME = 0x0101, 0x0800
_EXTENDED_LIMITS, _UI_RESTRICTIONS = 9, 4
_ACTIVE_PROCESS, _DIE_ON_EXCEPTION, _KILL_ON_JOB_CLOSE = 0x8, 0x400, 0x2000
_UI_ALL = 0xFF
"""Handles, clipboard both ways, system parameters, display, atoms, desktop, log-off."""


class BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("Basic", BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class Contained(subprocess.Popen[bytes]):
    """A process that begins inside a job; where Windows refuses, outside of one."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        super().__init__(command, creationflags=_CREATE_SUSPENDED, **options)
        self._job = contain(self.pid, ctypes.CDLL("kernel32"), ctypes.CDLL("ntdll"))

    def wait(self, timeout: float | None = None) -> int:
        """As a plain process, and the job is closed."""
        status = super().wait(timeout)
        job, self._job = self._job, 0
        if job:
            ctypes.CDLL("kernel32").CloseHandle(ctypes.c_void_p(job))
        return status


def contain(pid: int, kernel32: Any, ntdll: Any) -> int:
    """Put a suspended process into a job of its own, and let it run.

    Args:
        kernel32, ntdll: the system's libraries.

    Returns:
        The job's handle; closing it ends the process. 0 where Windows refused.
    """
    call = kernel32
    call.CreateJobObjectW.restype = call.OpenProcess.restype = ctypes.c_void_p
    job = call.CreateJobObjectW(None, None) or 0
    access = _SET_QUOTA_AND_TERMINATE | _SUSPEND_RESUME
    process = ctypes.c_void_p(call.OpenProcess(access, 0, pid) or 0)
    limits = ExtendedLimits()
    limits.Basic.LimitFlags = _ACTIVE_PROCESS | _DIE_ON_EXCEPTION | _KILL_ON_JOB_CLOSE
    limits.Basic.ActiveProcessLimit = 1
    windows = ctypes.c_uint32(_UI_ALL)
    done = (
        job
        and _set(call, job, _EXTENDED_LIMITS, limits)
        and _set(call, job, _UI_RESTRICTIONS, windows)
        and call.AssignProcessToJobObject(ctypes.c_void_p(job), process)
    )
    ntdll.NtResumeProcess(process)
    call.CloseHandle(process)
    if job and not done:
        call.CloseHandle(ctypes.c_void_p(job))
    return job if done else 0


def _set(call: Any, job: int, kind: int, value: Any) -> bool:
    size = ctypes.sizeof(value)
    return bool(call.SetInformationJobObject(ctypes.c_void_p(job), kind, ctypes.byref(value), size))
