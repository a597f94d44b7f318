"""Sample records of the suites that ask: accuracy, language and fidelity."""

import random

from harness.cases import cases_of

CHANCE = {"arith": 0.0, "calendar": 0.25, "josa": 0.5, "pairs": 0.5}


def accuracy(candidate, used, process, time_unit):
    suite = used.suites.accuracy
    for language in suite.languages:
        for task in suite.tasks:
            case = f"{language}-{task}"
            draw = random.Random(f"{candidate.seed}/{case}")
            for index in range(suite.items):
                known, guess = draw.random(), draw.random()
                # Hard items are hard for every model: what makes paired draws worth it.
                hard = random.Random(f"{case}/{index}").random()
                right = (known + hard) / 2 < candidate.skill or guess < CHANCE.get(task, 0.0)
                yield {
                    "case": case,
                    "kind": "item",
                    "index": index,
                    "template": f"t{index % 12:02d}",
                    "level": 1 + index % 3,
                    "chance": CHANCE.get(task, 0.0),
                    "correct": right,
                    "answered": right or guess > 0.1,
                }


def language(candidate, used, process, time_unit):
    """A text of 6,000 bytes in 2,000 tokens; who knows more predicts it better."""
    for case in cases_of(used)["language"]:
        nats = 2000 * (4.5 - 3 * candidate.skill)
        yield {
            "case": case.id,
            "kind": "text",
            "index": 0,
            "text_sha256": "7e" * 32,
            "bytes": 6000,
            "tokens": 2000,
            "vocabulary": 32_000,
            "nats": [nats / 8] * 8,
            "chunk_nats": [nats / 2000 * 255] * 3,
            "chunk_tokens": 255,
        }


def fidelity(candidate, used, process, time_unit):
    for case in cases_of(used)["fidelity"]:
        place = {"case": case.id, "index": 0, "reference": candidate.reference, "tokens": 400}
        if candidate.reference == candidate.id:
            yield place | {"kind": "stored", "stored_bytes": 600_000}
        elif candidate.reference:
            draw = random.Random(f"{candidate.seed}/{case.id}")
            yield place | {
                "kind": "divergence",
                "bytes": 1200,
                "kld_nat": [round(draw.expovariate(1 / candidate.kld), 7) for _ in range(400)],
                "same_top": round(400 * (1 - candidate.kld**0.5 / 4)),
                "delta_p_squares": candidate.kld / 2,
                "nats": 1000.0 + 100 * candidate.kld,
                "reference_nats": 1000.0,
            }
