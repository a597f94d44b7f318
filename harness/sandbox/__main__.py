"""Confine this process and say what came of it: `python -m harness.sandbox`."""

import json
import sys

from harness.sandbox.policy import Access, confine

if __name__ == "__main__":
    json.dump(confine(Access()), sys.stdout)
