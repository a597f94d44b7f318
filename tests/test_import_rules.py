"""Who may import whom: data flows one way, and the measured child stays small."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import harness

ROOT = Path(harness.__file__).parent

CORE = {"errors", "kernelfs", "metrics", "stats", "stats_items", "stats_t", "times"}
SPEC = {
    "spec",
    "cases",
    "job",
    "plan",
    "migrate",
    "parts",
    "durable",
    "records",
    "specfile",
    "specprofile",
    "specyaml",
    "extensions",
}
SPEC |= {"spectext", "specgate", "families", "order", "specschema"}
COMPARING = {"comparing", "compare", "gate"}
SCORING = {"score"} | COMPARING
# package or module → harness modules that it may import (by first part of the name)
ALLOWED = {
    "errors": set(),
    "messages": {"messages"},
    "kernelfs": set(),
    "stats": CORE,
    "stats_items": CORE,
    "stats_t": set(),
    "budget": CORE,
    "metrics": set(),
    "times": CORE,
    "spec": CORE | {"spectext", "specgate"},
    "spectext": set(),
    "specgate": set(),
    "cases": CORE | {"spec", "spectext"},
    "families": CORE | {"spec", "cases"},
    "job": CORE | {"spec", "cases"},
    "order": CORE | {"spec", "cases", "job"},
    "plan": CORE | {"spec", "cases", "families", "job", "order"},
    "ownhash": CORE | {"spec"},
    "planfile": CORE | {"spec", "job", "plan"},
    "parts": CORE | {"durable", "records"},
    "durable": CORE,
    "migrate": CORE,
    "records": CORE | {"durable", "migrate", "spec"},
    "adaptive": CORE | {"spec", "cases", "job"},
    "extensions": CORE,
    "interrupts": set(),
    "sandbox": {"kernelfs", "sandbox"},
    "templating": set(),
    "privacy": set(),
    "specyaml": CORE | {"spec"},
    "specprofile": CORE | {"spec", "spectext", "specgate", "specyaml", "cases"},
    "specfile": CORE | {"spec", "specyaml", "specprofile", "extensions", "models.shapes"},
    "specschema": CORE | {"spec", "spectext", "specgate", "specyaml", "specfile", "specprofile"},
    "heldout": CORE | SPEC | {"heldout", "sandbox", "templating", "suites.tasks.base"},
    "seeds": CORE | SPEC | {"seeds", "suites.tasks"},
    "environment": CORE | SPEC | {"environment"},
    "probes": CORE | SPEC | {"probes", "sandbox.keeper"},
    "models": CORE | SPEC | {"models", "preflight", "sandbox", "templating"},
    # The parsers, and what a parsed header tells; nothing that makes or finds models.
    "preflight": CORE
    | SPEC
    | {"preflight", "sandbox"}
    | {"models.gguf_file", "models.safetensors_file", "models.token_cost"},
    "score": CORE | SPEC | {"score", "scoring"},
    "scoring": CORE | SPEC | {"scoring"},
    **dict.fromkeys(COMPARING, CORE | SPEC | COMPARING | {"scoring"}),
    "backends": CORE | SPEC | {"backends", "models.safetensors_file"},
    "suites": CORE | SPEC | {"suites", "backends.base", "probes"},
    # Describes values of all of these; nobody but its command and tests imports it.
    "schema": CORE | SPEC | {"environment", "schema", "score"},
    "report": CORE | SPEC | SCORING | {"messages", "report", "scoring.details", "scoring.formulas"},
    # Raw samples: a scorecard does not hold them.
    "report.parquet": CORE | {"frames", "records", "report"},
    "report.pytest_benchmark": CORE | {"records", "report", "scoring"},
    "frames": CORE | SPEC | SCORING | {"scoring", "report", "runs"},
    "worker": CORE | SPEC | {"backends.base", "backends", "suites", "probes", "sandbox"},
    "supervise": CORE | {"interrupts", "parts", "records", "sandbox"},
    "execute": CORE
    | SPEC
    | {"environment", "interrupts", "models", "probes", "sandbox", "supervise"},
    "sources": CORE | SPEC | {"heldout", "suites"},
    "exam": CORE | SPEC | {"budget", "models", "sources", "suites"},
    "doctor": CORE
    | SPEC
    | {"environment", "messages", "models", "backends", "ownhash", "probes", "sandbox"},
    "shares": CORE | SPEC | {"score", "scoring"},
    "runs": CORE | SPEC | {"score", "shares"},
    "ledger": CORE | SPEC,
    "counting": CORE | SPEC | {"ledger", "runs"},
    "official": CORE | SPEC | {"counting", "ledger", "runs", "scoring.validity"},
    "scaffold": CORE | SPEC,
}
FREE = {
    "__main__",
    "cli",
    "baselines",
    "bundle",
    "cli_accuracy",
    "cli_bundle",
    "cli_compare",
    "cli_kit",
    "cli_ledger",
    "cli_models",
    "cli_preflight",
    "cli_profiles",
    "cli_run",
    "cli_schema",
    "cli_shared",
    "cli_synth",
    "terminal",
    "resume",
    "schedule",
    "session",
    "onecase",
    "pytest_plugin",
    "prepare",
    "selftest",
    "tuning",
    "devices",
    "fleet",
    "interop",
    "kit",
}


@functools.cache
def imports(path: Path) -> set[str]:
    """Names below `harness` that a file imports, written `package.module`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module == "harness":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("harness."):
                found.add(node.module.removeprefix("harness."))
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("harness.")
                for alias in node.names
                if alias.name.startswith("harness.")
            }
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.add("relative imports hide edges")
    return found


def owner(path: Path) -> str:
    """A module that has rules of its own, else the package or module at the top."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name if name in ALLOWED else name.partition(".")[0]


def permitted(source: str, target: str) -> bool:
    allowed = ALLOWED[source]
    return any(target == name or target.startswith(f"{name}.") for name in allowed)


def test_every_edge_is_allowed() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports harness.{target}"
        for path in sorted(ROOT.rglob("*.py"))
        if owner(path) not in FREE | {"__init__", "data"}
        for target in imports(path)
        if target != "__version__" and not permitted(owner(path), target)
    ]
    assert wrong == []


def test_a_suite_never_imports_an_engine_nor_an_engine_a_suite() -> None:
    concrete = {path.stem for path in (ROOT / "backends").glob("*.py")} - {"__init__", "base"}
    for path in (ROOT / "suites").rglob("*.py"):
        assert not {f"backends.{name}" for name in concrete} & imports(path), path


def test_the_rule_bites() -> None:
    assert not permitted("score", "models.reference")
    assert not permitted("report", "backends.base")
    assert not permitted("suites", "backends.llama_cpp")
    assert permitted("worker", "suites")


def test_nobody_imports_the_worker() -> None:
    for path in ROOT.rglob("*.py"):
        assert "worker" not in imports(path), path


def test_files_stay_below_500_lines() -> None:
    long = [path for path in ROOT.rglob("*.py") if len(path.read_text("utf-8").splitlines()) > 500]
    assert long == []


def test_the_child_imports_nothing_but_numpy_before_its_engine() -> None:
    """Every third-party import in the worker is memory that is blamed on a model."""
    script = (
        "import sys, harness.worker, harness.job, harness.records, harness.extensions\n"
        "import harness.sandbox.policy\n"
        "import harness.backends.base, harness.suites.latency, harness.suites.memory\n"
        "import harness.suites.accuracy, harness.suites.task, harness.suites.sustained\n"
        "import harness.suites.energy, harness.suites.kernel, harness.probes.counters\n"
        "import harness.suites.language, harness.suites.fidelity\n"
        "top = {name.split('.')[0] for name in sys.modules}\n"
        "print(*sorted(top - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT.parent)!r})\n{script}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    allowed = {"harness", "numpy", "coverage", "a1_coverage"}  # coverage only when it measures us
    extra = {name for name in done.stdout.split() if not name.startswith(("_", "$"))}
    assert extra <= allowed
