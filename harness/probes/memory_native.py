"""Resident memory on Windows and macOS, written from the vendors' headers.

`PeakWorkingSetSize` and a job object on Windows, `ri_lifetime_max_phys_footprint` on
macOS, where what a worker starts is not seen. Untested on hardware: the tests run these
readers on recorded answers.
"""

from __future__ import annotations

import struct
from typing import Any


def library(name: str | None) -> Any:
    """A system library. On 64-bit Windows all calling conventions are one."""
    import ctypes

    return ctypes.CDLL(name)


def windows_resident(pid: int, kernel32: Any) -> tuple[int, int] | None:
    """Peak and present working set (psapi.h, PROCESS_MEMORY_COUNTERS)."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("cb", ctypes.c_uint32),
            ("PageFaultCount", ctypes.c_uint32),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("WorkingSetSize", ctypes.c_size_t),
            ("others", ctypes.c_size_t * 6),
        )

    query_limited_information = 0x1000
    kernel32.OpenProcess.restype = ctypes.c_void_p
    handle = kernel32.OpenProcess(query_limited_information, 0, pid)
    if not handle:
        return None
    counters = Counters(cb=ctypes.sizeof(Counters))
    # Without a declared type ctypes would cut a 64-bit handle to an int.
    done = kernel32.K32GetProcessMemoryInfo(
        ctypes.c_void_p(handle), ctypes.byref(counters), counters.cb
    )
    kernel32.CloseHandle(ctypes.c_void_p(handle))
    if not done:
        return None
    return int(counters.PeakWorkingSetSize), int(counters.WorkingSetSize)


_RUSAGE_INFO_V4 = 4
_RUSAGE_V4_WORDS = 35
_PHYS_FOOTPRINT = 7
_LIFETIME_MAX_PHYS_FOOTPRINT = 28


def macos_resident(pid: int, libproc: Any) -> tuple[int, int] | None:
    """Peak and present footprint (sys/resource.h, rusage_info_v4): a 16-byte uuid, then 35
    words of 64 bits, counted from 0.
    """
    import ctypes

    class Usage(ctypes.Structure):
        _fields_ = (
            ("uuid", ctypes.c_uint8 * 16),
            ("words", ctypes.c_uint64 * _RUSAGE_V4_WORDS),
        )

    usage = Usage()
    if libproc.proc_pid_rusage(pid, _RUSAGE_INFO_V4, ctypes.byref(usage)):
        return None
    return int(usage.words[_LIFETIME_MAX_PHYS_FOOTPRINT]), int(usage.words[_PHYS_FOOTPRINT])


_EXTENDED_LIMITS, _EXTENDED_LIMITS_BYTES, _PEAK_JOB_MEMORY_AT = 9, 144, 136
_ACCOUNTING, _ACCOUNTING_BYTES, _TOTAL_PROCESSES_AT = 1, 48, 36
_SET_QUOTA_AND_TERMINATE = 0x0101


class JobSampler:
    """Memory committed by a process and all that it starts, by a Windows job object.

    Used like `TreeSampler`, but the system itself keeps the peak (winnt.h:
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION and _BASIC_ACCOUNTING_INFORMATION, 64-bit layout).
    What is committed includes what was never touched: it is at least the resident size.
    """

    def __init__(self, kernel32: Any = None) -> None:
        self._kernel32 = kernel32 or library("kernel32")
        self._job = 0

    def start(self, pid: int) -> None:
        """Put a running process into a job of its own; once a sampler."""
        import ctypes

        call = self._kernel32
        call.CreateJobObjectW.restype = call.OpenProcess.restype = ctypes.c_void_p
        self._job = call.CreateJobObjectW(None, None) or 0
        process = call.OpenProcess(_SET_QUOTA_AND_TERMINATE, 0, pid)
        if not call.AssignProcessToJobObject(
            ctypes.c_void_p(self._job), ctypes.c_void_p(process or 0)
        ):
            self._close()
        if process:
            call.CloseHandle(ctypes.c_void_p(process))

    def stop(self) -> dict[str, object] | None:
        """The peak, as `tree_peak_bytes`, and how many `processes` there were; None where
        the process could not be put into a job.
        """
        limits = self._asked(_EXTENDED_LIMITS, _EXTENDED_LIMITS_BYTES)
        accounting = self._asked(_ACCOUNTING, _ACCOUNTING_BYTES)
        self._close()
        if not limits or not accounting:
            return None
        return {
            "processes": struct.unpack_from("<I", accounting, _TOTAL_PROCESSES_AT)[0],
            "tree_peak_bytes": struct.unpack_from("<Q", limits, _PEAK_JOB_MEMORY_AT)[0],
            "method": "job_object",
        }

    def _asked(self, kind: int, size: int) -> bytes:
        import ctypes

        buffer = ctypes.create_string_buffer(size)
        ask = self._kernel32.QueryInformationJobObject
        done = self._job and ask(ctypes.c_void_p(self._job), kind, buffer, size, None)
        return buffer.raw if done else b""

    def _close(self) -> None:
        import ctypes

        if self._job:
            self._kernel32.CloseHandle(ctypes.c_void_p(self._job))
        self._job = 0
