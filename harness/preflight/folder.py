"""Names, types and links of a submitted folder, judged before any file in it is opened.

The rules hold for folders, which come from archives and repositories of strangers. A
single file named by a person may be a link: it is that person's own. Hidden entries that
tools leave behind are no part of a model and are passed over; nothing opens them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final

from harness.errors import printable
from harness.preflight.rules import refuse

FILES_MAX: Final = 4096
DEPTH_MAX: Final = 8
_NAME_BYTES_MAX: Final = 255
_ALLOWED: Final = re.compile(
    r".+\.(gguf|onnx|onnx_data(_\d+)?|data|safetensors|model|json|jsonl|txt|jinja|md)"
    r"|(readme|license|licence|notice|copying|usage_policy)([._-].*)?",
    re.IGNORECASE,
)
_PASSED_OVER: Final = frozenset(
    {".cache", ".git", ".gitattributes", ".gitignore", ".huggingface", ".ds_store"}
)
_REASONS: Final = {
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"), "a pickle can run code"),
    **dict.fromkeys((".py", ".pyc", ".sh", ".bat", ".ps1", ".js"), "a program"),
    **dict.fromkeys((".so", ".dll", ".dylib", ".exe", ".pyd"), "native code"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".bz2", ".xz", ".7z", ".rar"), "an archive"),
}


def check(path: Path) -> None:
    """Judge what a person named: a folder whole, a file only for being one.

    Args:
        path: a file, or a folder.

    Raises:
        SpecError: `file_kind`, `file_link`, `file_name`, `file_type` or `folder_size`.
        OSError: it cannot be read.
    """
    if path.is_dir():
        check_folder(path)
    elif not path.is_file():
        refuse(path, "file_kind", "this is no regular file")


def check_folder(root: Path) -> None:
    """Every entry below a folder.

    Raises:
        SpecError, OSError: as `check`.
    """
    for count, entry in enumerate(_entries(root, 0)):
        if count >= FILES_MAX:
            refuse(root, "folder_size", f"more than {FILES_MAX} entries")
        path = Path(entry.path)
        check_name(path, entry.name)
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            refuse(path, "file_link", "a symbolic link", hint="submit the file itself")
        if stat.S_ISDIR(status.st_mode):
            continue
        if not stat.S_ISREG(status.st_mode):
            refuse(path, "file_kind", "this is no regular file")
        if status.st_nlink > 1:
            message = f"a file with {status.st_nlink} names (hard links)"
            refuse(path, "file_link", message, hint=f"copy it: cp -r {printable(str(root))} COPY")
        check_type(path, entry.name)


def _entries(folder: Path, depth: int) -> Iterator[os.DirEntry[str]]:
    if depth > DEPTH_MAX:
        refuse(folder, "folder_size", f"folders more than {DEPTH_MAX} deep")
    with os.scandir(folder) as found:
        for entry in found:
            plain = not entry.is_symlink()
            if plain and entry.name.lower() in _PASSED_OVER:
                continue
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), depth + 1)


def check_name(path: Path | str, name: str) -> None:
    """A name that every system and every terminal shows as it is.

    Raises:
        SpecError: `file_name`.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        refuse(ascii(str(path)), "file_name", "its name is not UTF-8")
    if size > _NAME_BYTES_MAX or not name.isprintable():
        refuse(path, "file_name", f"its name is {name[:60]!r}, of {size} bytes")


def check_type(path: Path | str, name: str) -> None:
    """A type of file that belongs to a model.

    Raises:
        SpecError: `file_type`.
    """
    suffix = PurePath(name).suffix.lower()
    if _ALLOWED.fullmatch(name) and suffix not in _REASONS:
        return
    why = _REASONS.get(suffix, f"'{suffix or name}' is no type of file that a model has")
    refuse(path, "file_type", why, hint="remove it from the submission, or submit another format")
