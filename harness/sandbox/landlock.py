"""Landlock: which files a process may touch, whoever its user is (Linux ≥ 5.13).

What has no rule is denied, to root too, for this thread and all that it starts. A kernel
knows some of the rights, by its ABI number; where ABI 4 is known, TCP is denied as well,
and from 6 on abstract sockets and signals to processes outside.

Numbers are those of <linux/landlock.h>. Standard library only: the measured child imports
this.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls; every architecture has the same numbers."""
_VERSION = 1
_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15

LIST: Final = _READ_DIR
READ: Final = _READ_FILE | _READ_DIR
"""Reading is enough for a library to be mapped; no rule lets anything be executed."""
UPDATE: Final = _READ_FILE | _WRITE_FILE | _TRUNCATE
"""Python opens a file that it writes by truncating it, `/proc/self/clear_refs` too."""
DEVICE: Final = UPDATE | _IOCTL_DEV | _READ_DIR
CHANGE: Final = READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG
_OF_FILES = UPDATE | _TRUNCATE | _IOCTL_DEV
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights on files an ABI knows; later ones know no more."""
_TCP, _SCOPES = 0b11, 0b11


class Rule(NamedTuple):
    """Rights on a file, or on a folder and everything below it."""

    path: str
    rights: int


def abi(libc: Any) -> int:
    """Version of the kernel's Landlock; 0 where there is none or it is switched off."""
    return max(0, int(libc.syscall(_CREATE_RULESET, None, 0, _VERSION)))


def restrict(libc: Any, version: int, rules: Iterable[Rule]) -> None:
    """Deny this thread every file that has no rule. What is not there needs none.

    Needs PR_SET_NO_NEW_PRIVS.

    Raises:
        OSError: the kernel refused.
    """
    known = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("<Q", known)
    if version >= 4:
        attributes += struct.pack("<Q", _TCP)
    if version >= 6:
        attributes += struct.pack("<Q", _SCOPES)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for rule in rules:
            _add(libc, ruleset, rule, known)
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _add(libc: Any, ruleset: int, rule: Rule, known: int) -> None:
    try:
        place = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = rule.rights & known
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        if rights:
            beneath = struct.pack("<Qi", rights, place)
            _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, beneath, 0))
    finally:
        os.close(place)


def _checked(result: int) -> int:
    if result < 0:
        import ctypes

        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
