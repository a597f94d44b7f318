"""The environment variables that a confined child inherits: few, and no secrets.

Tokens of hubs and clouds stand in variables; what meets a stranger's file has no use for
them. Kept is what the system, Python and the engines' libraries read, by name or prefix.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

_NAMES: Final = """
PATH LANG LANGUAGE TZ TERM NO_COLOR COLUMNS USER LOGNAME VIRTUAL_ENV CONDA_PREFIX
LD_LIBRARY_PATH LD_PRELOAD DYLD_LIBRARY_PATH DYLD_FALLBACK_LIBRARY_PATH GLIBC_TUNABLES
SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT OS NUMBER_OF_PROCESSORS
PROGRAMDATA PROGRAMFILES PROGRAMFILES(X86) PROGRAMW6432 COMMONPROGRAMFILES
TOKENIZERS_PARALLELISM PYTEST_CURRENT_TEST
""".split()  # noqa: SIM905 - a list of words reads better
_PREFIXES: Final = (
    *("HARNESS_", "PYTHON", "LC_", "COVERAGE_", "MALLOC_", "PROCESSOR_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "TBB_"),
    *("GGML_", "LLAMA_", "ORT_", "ONEDNN_", "DNNL_", "OPENVINO_", "OV_", "QNN_"),
    *("CUDA_", "NVIDIA_", "HIP_", "ROCR_", "HSA_", "ZE_", "SYCL_", "OCL_", "VK_", "MTL_"),
)
_SECRET: Final = ("KEY", "SECRET", "PASSW", "CREDENTIAL", "TOKEN")
_TEMPORARY: Final = ("TMPDIR", "TEMP", "TMP")
_HOMES: Final = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CACHE_HOME")


def clean(fixed: Mapping[str, str], scratch: str = "") -> dict[str, str]:
    """What of this process's environment a child gets.

    Args:
        fixed: variables that every child has.
        scratch: folder that stands in for the user's own and for temporary files; empty
            leaves both where they are.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if (upper := name.upper()) in _NAMES
        or (upper.startswith(_PREFIXES) and not any(word in upper for word in _SECRET))
    }
    places = (*_TEMPORARY, *_HOMES)
    if scratch:
        kept |= dict.fromkeys(places, scratch)
    else:
        kept |= {name: os.environ[name] for name in places if name in os.environ}
    import site

    if site.ENABLE_USER_SITE and sys.flags.no_user_site == 0:
        # Packages that a user installed for himself lie in his home.
        kept.setdefault("PYTHONUSERBASE", site.getuserbase())
    return kept | dict(fixed)
