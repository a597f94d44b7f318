"""Parts of the sample scorecards: estimates, answered chats, cases and texts."""

from __future__ import annotations

from typing import Any

PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)//",
    '"><img src=x onerror=alert(3)>',
    "'><svg/onload=alert(4)>",
    "</style><style>*{display:none}",
    "\x1b[31mred\x1b[0m\x1b]8;;https://evil.example\x07link",
    "\u202egpj.exe\u2066x\u2069",
    "nul\x00byte\x9b2J",
    "a | b `c` **d** [e](https://evil.example) www.evil.example <b>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(5)",
    "=cmd|' /C calc'!A0",
    "[bold red]markup[/bold red]",
)


def estimate(value: float, spread: float, unit: str, n: int = 50) -> dict[str, Any]:
    """A metric value whose interval is `spread` of it either way."""
    return {
        "value": value,
        "lo": value * (1 - spread),
        "hi": value * (1 + spread),
        "n": n,
        "unit": unit,
    }


def chat(speed: float, chars: float, size: float) -> dict[str, Any]:
    """Chat metrics for tokens of `chars` characters of `size` bytes."""
    return {
        "task_tokenise_s": estimate(0.0004, 0.1, "s"),
        "task_ttft_s": estimate(0.4 / speed, 0.03, "s"),
        "task_decode_tok_per_s": estimate(21.2 * speed, 0.02, "tok/s"),
        "task_char_per_s": estimate(21.2 * speed * chars, 0.03, "char/s"),
        "task_byte_per_s": estimate(21.2 * speed * chars * size, 0.03, "B/s"),
        "task_output_tok": estimate(131, 0.1, "tok"),
        "task_end_to_end_s": estimate(6.6 / speed, 0.05, "s"),
    }


def cases(speed: float, memory: float) -> dict[str, Any]:
    """Every kind of case that a standard run has."""
    fixed = {
        f"fixed-p{p}-n128{depth}": {
            "ttft_s": estimate(p / 304 / speed * slow, 0.03, "s"),
            "prefill_tok_per_s": estimate(304 * speed / slow, 0.02, "tok/s"),
            "decode_tok_per_s": estimate((22 - p / 512) * speed / slow, 0.02, "tok/s"),
            "tpot_s": estimate(slow / (22 - p / 512) / speed, 0.02, "s"),
            **{
                f"itl_s_p{q}": estimate((0.045 + 0.0001 * q) / speed * slow, 0.02, "s", 6350)
                for q in (50, 90, 95, 99)
            },
            "mbu": estimate(0.71 / slow, 0.02, "1"),
            "mfu": estimate(0.43 / slow, 0.02, "1"),
        }
        for p in (64, 256, 1024)
        for depth, slow in (("", 1.0), ("@d512", 1.12))
    }
    languages = {
        f"chat-{language}": chat(speed, chars, size)
        for language, chars, size in (("ko", 1.4, 2.7), ("en", 4.3, 1.0))
    }
    load = {
        case: {
            "load_s": estimate(total / speed, 0.05, "s", 10),
            "load_start_s": estimate(0.05, 0.05, "s", 10),
            "load_import_s": estimate(0.21, 0.05, "s", 10),
            "load_weights_s": estimate((total - 0.4) / speed, 0.05, "s", 10),
            "load_first_s": estimate(0.12 / speed, 0.05, "s", 10),
        }
        for case, total in (("load", 1.2), ("load-cold", 2.9))
    }
    split = {
        case: {
            "peak_resident_bytes": estimate(memory * part, 0.004, "B", 3),
            "peak_anon_bytes": estimate(memory * anon, 0.004, "B", 3),
            "peak_file_bytes": estimate(memory * (part - anon), 0.004, "B", 3),
            "peak_shmem_bytes": estimate(0.0, 0.0, "B", 3),
        }
        for case, part, anon in (
            ("c512", 0.96, 0.93),
            ("c2048", 1.0, 0.97),
            ("c2048-mmap", 1.04, 0.22),
            ("c8192", 1.16, 1.13),
        )
    }
    kernel = {
        "pp512": {"kernel_pp_tok_per_s": estimate(311 * speed, 0.01, "tok/s", 15)},
        "tg128": {"kernel_tg_tok_per_s": estimate(22.4 * speed, 0.01, "tok/s", 15)},
        "tg128@d1024": {"kernel_tg_tok_per_s": estimate(20.1 * speed, 0.01, "tok/s", 15)},
    }
    return fixed | languages | load | split | kernel | texts(speed)


def texts(speed: float) -> dict[str, Any]:
    """What the suites of running text leave; the divergence grows with the speed."""
    kld = 0.004 * speed**4
    one = {"lo": None, "hi": None, "n": 1}
    out: dict[str, Any] = {}
    for language in ("ko", "en"):
        out[f"text-{language}"] = {
            "bits_per_byte": {"value": 1.1 + 0.1 * speed, "unit": "bit/B", **one},
            "perplexity": {"value": 21.4 * speed, "unit": "1", **one},
        }
        out[f"fidelity-{language}"] = {
            "kld_nat": estimate(kld, 0.1, "nat", 2048),
            "kld_nat_p50": estimate(kld / 3, 0.0, "nat", 2048),
            "kld_nat_p99": estimate(kld * 14, 0.0, "nat", 2048),
            "top1_agreement": estimate(0.99 - kld, 0.004, "1", 2048),
            "delta_p_rms": estimate(0.01 * speed, 0.0, "1", 2048),
            "bits_per_byte_change": estimate(0.003 * speed, 0.0, "bit/B", 2048),
        }
    return out
