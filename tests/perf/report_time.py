"""How long a report of 20 models takes, and how large it gets.

Usage: python -m tests.perf.report_time [--models 20] [--rounds 5]

Every round is a fresh process, as `harness report` is: imports, one read of the scorecard
and the page itself. The models have everything that the profile `challenge` measures.
Asked: at most 5 s and 1.5 MB for 20 models. CPU time is that of the process; on a busy
machine it says more than wall time.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.report import sample

CODE = """
import json, sys, time
from pathlib import Path
wall, cpu = time.perf_counter(), time.process_time()
from harness.report import html
page = html.render(json.loads(Path(sys.argv[1]).read_text("utf-8"))).encode()
took = [time.perf_counter() - wall, time.process_time() - cpu, len(page)]
print(json.dumps(took))
"""


@click.command()
@click.option("--models", default=20, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(models: int, rounds: int) -> None:
    """Render a report in fresh processes and print medians."""
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "scorecard.json"
        card.write_text(json.dumps(sample.challenge(models)), "utf-8")
        found = []
        for _ in range(rounds):
            done = subprocess.run(
                [sys.executable, "-c", CODE, str(card)], capture_output=True, text=True, check=True
            )
            found.append(json.loads(done.stdout))
    walls, cpus, sizes = zip(*found, strict=True)
    print(f"{models} models, {rounds} rounds")
    print(f"wall {statistics.median(walls):.2f} s (worst {max(walls):.2f}), asked: at most 5")
    print(f"CPU  {statistics.median(cpus):.2f} s (worst {max(cpus):.2f})")
    print(f"page {max(sizes):,} bytes, asked: at most 1,500,000")


if __name__ == "__main__":
    main()
