"""A filter of system calls: what Landlock does not cover is denied with EPERM (Linux).

A list of what is denied, not of what is allowed: engines and drivers call what they like,
and a call that a newer library makes must not end a measurement. Threads can be started,
processes cannot. The kernel remembers which calls are allowed whatever their arguments
are, so that the filter costs them nothing.

Numbers are those of <asm/unistd.h>, <linux/filter.h>, <linux/seccomp.h> and <linux/audit.h>.
Standard library only: the measured child imports this.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

# name, number on x86-64, number on aarch64; 0 where the architecture lacks the call
_DENIED = """
execve 59 221, execveat 322 281, fork 57 0, vfork 58 0,
socket 41 198, io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427,
ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, kcmp 312 272,
process_madvise 440 440, process_mrelease 448 448, migrate_pages 256 238,
pidfd_open 434 434, pidfd_getfd 438 438, pidfd_send_signal 424 424, tkill 200 130,
shmget 29 194, shmat 30 196, semget 64 190, msgget 68 186, mq_open 240 180,
truncate 76 45, chmod 90 0, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452,
chown 92 0, lchown 94 0, fchown 93 55, fchownat 260 54,
utime 132 0, utimes 235 0, futimesat 261 0, utimensat 280 88,
setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, setxattrat 463 463,
removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, removexattrat 466 466,
name_to_handle_at 303 264, open_by_handle_at 304 265, fanotify_init 300 262,
inotify_init 253 0, inotify_init1 294 26,
mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, move_mount 429 429,
open_tree 428 428, open_tree_attr 467 467, fsopen 430 430, fsconfig 431 431,
fsmount 432 432, fspick 433 433, mount_setattr 442 442, unshare 272 97, setns 308 268,
bpf 321 280, perf_event_open 298 241, userfaultfd 323 282,
ioprio_set 251 30, keyctl 250 219, add_key 248 217, request_key 249 218,
init_module 175 105, finit_module 313 273, delete_module 176 106,
kexec_load 246 104, kexec_file_load 320 294, reboot 169 142, swapon 167 224, swapoff 168 225,
settimeofday 164 170, clock_settime 227 112, adjtimex 159 171, clock_adjtime 305 266,
sethostname 170 161, setdomainname 171 162, acct 163 89, quotactl 179 60, syslog 103 116,
vhangup 153 58, iopl 172 0, ioperm 173 0
"""
# Only on this process: its number must be the first argument.
_ON_ITSELF = "kill 62 129, tgkill 234 131, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240"
# As above, and 0 is this process, too.
_LIMITS = "prlimit64 302 261, sched_setattr 314 274"
_CLONE, _PAIR, _PRCTL, _PRIORITY, _FCNTL, _IOCTL = (
    "clone 56 220",
    "socketpair 53 199",
    "prctl 157 167",
    "setpriority 141 140",
    "fcntl 72 25",
    "ioctl 16 29",
)
_CLONE3: Final = 435
_CLONE_THREAD, _AF_UNIX, _PR_SET_PDEATHSIG = 0x10000, 1, 1
_OWNERS_BY_FCNTL = (8, 10, 15, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX and F_NOTIFY: the kernel would signal any process for us."""
_OWNERS_BY_IOCTL = (0x8901, 0x8902)
"""FIOSETOWN and SIOCSPGRP: the same, of a socket."""

_MACHINES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* by the name of the machine."""
_X32_BIT = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _MACHINE_AT, _FIRST_AT, _SECOND_AT = 0, 4, 16, 24
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_DENY, _ABSENT = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS

_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _ACTION_AVAILABLE, _SPEC_ALLOW = 1, 2, 1 << 2
"""Without the flag, kernels before 5.16 switch speculation off for whoever has a filter, and
what is measured would be another processor.
"""


class _Step(NamedTuple):
    """One instruction of classic BPF; jumps count instructions to skip."""

    code: int
    value: int
    if_true: int = 0
    if_false: int = 0


def numbers(table: str, machine: str) -> dict[str, int]:
    """System calls by name that a machine has, out of a table like those above."""
    column = 1 + list(_MACHINES).index(machine)
    rows = [row.split() for row in table.split(",")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "0"}


def program(machine: str, pid: int) -> bytes:
    """The filter for a process.

    Args:
        machine: a key of the known architectures.
        pid: the process's number; it may send signals to itself alone.
    """
    steps = [
        _Step(_LOAD, _MACHINE_AT),
        _Step(_EQUAL, _MACHINES[machine], 1, 0),
        _Step(_RETURN, _KILL_PROCESS),  # 32-bit calls have other numbers
        _Step(_LOAD, _NUMBER_AT),
    ]
    if machine == "x86_64":
        steps += [_Step(_AT_LEAST, _X32_BIT, 0, 1), _Step(_RETURN, _DENY)]
    # The C library falls back on clone, whose flags a filter can read.
    steps += [_Step(_EQUAL, _CLONE3, 0, 1), _Step(_RETURN, _ABSENT)]
    for number in numbers(_DENIED, machine).values():
        steps += [_Step(_EQUAL, number, 0, 1), _Step(_RETURN, _DENY)]
    for number in numbers(_ON_ITSELF, machine).values():
        steps += _first_argument(number, _Step(_EQUAL, pid, 1, 0))
    for number in numbers(_LIMITS, machine).values():
        steps += _first_argument(number, _Step(_EQUAL, 0, 2, 0), _Step(_EQUAL, pid, 1, 0))
    (clone,) = numbers(_CLONE, machine).values()
    steps += _first_argument(clone, _Step(_ANY_BIT, _CLONE_THREAD, 1, 0))
    (pair,) = numbers(_PAIR, machine).values()
    steps += _first_argument(pair, _Step(_EQUAL, _AF_UNIX, 1, 0))
    (prctl,) = numbers(_PRCTL, machine).values()
    steps += _first_argument(prctl, _Step(_EQUAL, _PR_SET_PDEATHSIG, 0, 1))
    (priority,) = numbers(_PRIORITY, machine).values()
    # Of a process, not of a group or a user, and of this one.
    ours = _Step(_EQUAL, 0, 0, 2), _Step(_LOAD, _SECOND_AT), _Step(_EQUAL, 0, 1, 0)
    steps += _first_argument(priority, *ours)
    for table, commands in ((_FCNTL, _OWNERS_BY_FCNTL), (_IOCTL, _OWNERS_BY_IOCTL)):
        (number,) = numbers(table, machine).values()
        steps += _first_argument(number, _Step(_LOAD, _SECOND_AT), *_none_of(commands))
    steps.append(_Step(_RETURN, _ALLOW))
    return b"".join(
        struct.pack("<HBBI", step.code, step.if_true, step.if_false, step.value) for step in steps
    )


def _first_argument(number: int, *tests: _Step) -> list[_Step]:
    """What a call may be by the lower half of its first argument: the last test goes one
    step further where it is denied, two where it is allowed.
    """
    body = [_Step(_LOAD, _FIRST_AT), *tests, _Step(_RETURN, _DENY), _Step(_RETURN, _ALLOW)]
    return [_Step(_EQUAL, number, 0, len(body)), *body]


def _none_of(values: Sequence[int]) -> list[_Step]:
    """Tests that deny each of the values, and allow all others."""
    *others, last = values
    denying = [_Step(_EQUAL, value, len(others) - at, 0) for at, value in enumerate(others)]
    return [*denying, _Step(_EQUAL, last, 0, 1)]


def is_known(machine: str) -> bool:
    """Whether there is a filter for this architecture and this process, which is not 32-bit."""
    return machine in _MACHINES and sys.maxsize > 1 << 32


def is_there(libc: Any) -> bool:
    """Whether this process can install its filter: it is asked what it may do."""
    import ctypes

    machine = os.uname().machine
    if not is_known(machine):
        return False
    action = ctypes.c_uint32(_ERRNO)
    return not libc.syscall(_SECCOMP[machine], _ACTION_AVAILABLE, 0, ctypes.byref(action))


def install(libc: Any) -> None:
    """Filter the calls of this thread and of all that it starts, for ever.

    Needs PR_SET_NO_NEW_PRIVS.

    Raises:
        OSError: the kernel has no filters, or refused this one.
    """
    import ctypes

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    machine = os.uname().machine
    code = program(machine, os.getpid())
    handed = Program(len(code) // 8, code)
    if libc.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _SPEC_ALLOW, ctypes.byref(handed)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
