"""Plans are pure: same input, same jobs, in an order that interleaves the models."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import plan as planning
from harness.cases import Case
from harness.job import job_from_json
from harness.spec import (
    AccuracySuite,
    Artefact,
    BackendOptions,
    Device,
    EnergySuite,
    KernelSuite,
    LatencySuite,
    MemorySuite,
    Model,
    Profile,
    Protocol,
    Source,
    Suites,
    SustainedSuite,
    TaskSuite,
    canonical,
    to_json,
)

PROFILE = Profile(
    id="test",
    version=1,
    title="",
    reference="a.f16.gguf",
    tier="unverified",
    protocol=Protocol(
        processes={"latency": 3, "memory": 2, "accuracy": 1},
        requests=2,
        warmup_max=1,
        grouping="suite",
        job_timeout_s=60,
    ),
    suites=Suites(
        latency=LatencySuite(prompt_tokens=(64, 1024), output_tokens=(64, 128)),
        memory=MemorySuite(context=256, output_tokens=64),
        accuracy=AccuracySuite(tasks=("josa", "pairs"), languages=("ko", "en"), items=10),
    ),
    weights={"accuracy": 1.0},
)
DEVICE = Device(id="d", name="d")


def artefact(name: str, context: int = 0) -> Artefact:
    model = Model(
        id=name,
        family="a",
        format="gguf",
        quantisation="f16",
        source=Source(kind="file", path=name),
        context=context,
    )
    return Artefact(model=model, path=f"/x/{name}", sha256={name: "0" * 64}, size_bytes=1000)


def build(*names: str, **changes: object) -> planning.Plan:
    profile = dataclasses.replace(PROFILE, **changes)  # type: ignore[arg-type]
    return planning.build(profile, DEVICE, [artefact(name) for name in names], threads=2)


def test_cases_and_processes_are_expanded() -> None:
    plan = build("a.f16.gguf", "b.f16.gguf")
    assert len(plan.jobs) == 2 * (3 + 2 + 1)
    latency = next(job for job in plan.jobs if job.suite == "latency")
    assert [case.id for case in latency.cases] == [
        "fixed-p64-n64",
        "fixed-p64-n128",
        "fixed-p1024-n64",
        "fixed-p1024-n128",
    ]
    accuracy = next(job for job in plan.jobs if job.suite == "accuracy")
    assert [case.id for case in accuracy.cases] == ["ko-josa", "ko-pairs", "en-josa", "en-pairs"]


def test_threads_and_context_are_pinned() -> None:
    for job in build("a.f16.gguf").jobs:
        assert job.options.threads == 2
        need = max(case.tokens for case in job.cases)
        assert job.options.context >= need
        assert job.options.context & (job.options.context - 1) == 0


def test_one_case_a_job_when_grouped_by_case() -> None:
    protocol = dataclasses.replace(PROFILE.protocol, grouping="case")
    plan = build("a.f16.gguf", protocol=protocol)
    assert all(len(job.cases) == 1 for job in plan.jobs)
    contexts = {job.options.context for job in plan.jobs if job.suite == "latency"}
    assert len(contexts) == 1, "cases of a suite share one setting, or they do not compare"


def test_rounds_are_interleaved() -> None:
    plan = build("a.f16.gguf", "b.f16.gguf", "c.f16.gguf")
    processes = [job.process for job in plan.jobs]
    assert processes == sorted(processes)
    first_round = [job.model for job in plan.jobs if job.process == 0]
    assert first_round != sorted(first_round), "a round is shuffled"


@pytest.mark.parametrize("grouping", ["suite", "case"])
def test_every_models_longest_job_comes_first(grouping: str) -> None:
    protocol = dataclasses.replace(PROFILE.protocol, grouping=grouping)  # type: ignore[arg-type]
    memory = MemorySuite(context=256, further_contexts=(8192,), output_tokens=64)
    suites = dataclasses.replace(PROFILE.suites, memory=memory)
    plan = build("a.f16.gguf", "b.f16.gguf", protocol=protocol, suites=suites)
    first, second, *others = plan.jobs
    assert {first.model, second.model} == {"a.f16.gguf", "b.f16.gguf"}
    assert {case.id for job in (first, second) for case in job.cases} == {"c8192"}
    assert max(job.options.context for job in others if not job.process) < 8192


@pytest.mark.parametrize("grouping", ["suite", "case"])
def test_a_time_budget_is_decided_by_the_slowest_model_over_all_cases(grouping: str) -> None:
    accuracy = dataclasses.replace(PROFILE.suites.accuracy, budget_s=600.0)  # type: ignore[type-var]
    protocol = dataclasses.replace(PROFILE.protocol, grouping=grouping)  # type: ignore[arg-type]
    suites = dataclasses.replace(PROFILE.suites, accuracy=accuracy)
    profile = dataclasses.replace(PROFILE, protocol=protocol, suites=suites)
    for sizes in ((1, 10**9, 10**6, 10**10), (10**10, 1, 10**6, 10**9)):
        found = [
            dataclasses.replace(artefact(f"{name}.f16.gguf"), size_bytes=size)
            for name, size in zip("abcd", sizes, strict=True)
        ]
        plan = planning.build(profile, DEVICE, found, threads=2)
        asked = [job for job in plan.jobs if job.suite == "accuracy"]
        assert [len(job.cases) for job in asked] == [4] * 4, "one worker tries all cases"
        order = [sizes["abcd".index(job.model[0])] for job in asked]
        assert order == sorted(sizes, reverse=True)
        assert [job.process for job in plan.jobs] == sorted(job.process for job in plan.jobs)


def test_shown_cases_run_in_three_processes_at_most() -> None:
    latency = LatencySuite(prompt_tokens=(64,), output_tokens=(64,), depths=(0, 512))
    suites = Suites(latency=latency)
    for grouping, expected in (("suite", 10), ("case", 10 + 3)):
        protocol = dataclasses.replace(
            PROFILE.protocol, processes={"latency": 10}, grouping=grouping
        )
        plan = build("a.f16.gguf", suites=suites, protocol=protocol)
        assert len(plan.jobs) == expected
        deep = {j.process for j in plan.jobs if any(case.depth_tokens for case in j.cases)}
        assert deep == {0, 1, 2}
        scored = {j.process for j in plan.jobs if any(not c.depth_tokens for c in j.cases)}
        assert scored == set(range(10))


def test_models_that_exceed_the_budget_are_named() -> None:
    protocol = dataclasses.replace(PROFILE.protocol, budget_s=60.0)
    large = dataclasses.replace(artefact("b.f16.gguf"), size_bytes=10**9)
    plan = planning.build(
        dataclasses.replace(PROFILE, protocol=protocol),
        DEVICE,
        [artefact("a.f16.gguf"), large],
        threads=1,
    )
    assert list(plan.over_budget_s) == ["b.f16.gguf"]
    assert plan.over_budget_s["b.f16.gguf"] > 60
    assert build("a.f16.gguf").over_budget_s == {}, "without a budget nothing exceeds it"


def test_the_memory_needed_is_weights_and_cache_of_the_longest_job() -> None:
    small, large = artefact("a.f16.gguf"), artefact("b.f16.gguf")
    large = dataclasses.replace(large, size_bytes=5000, weights={"kv_bytes": 10})
    assert planning.build(PROFILE, DEVICE, [small], threads=1).need_bytes == 1000
    assert planning.build(PROFILE, DEVICE, [small, large], threads=1).need_bytes == 25_480
    wide = dataclasses.replace(large.model, options=BackendOptions(kv_type="f32"))
    double = dataclasses.replace(large, model=wide)
    assert planning.build(PROFILE, DEVICE, [double], threads=1).need_bytes == 45_960


def test_suites_can_be_chosen() -> None:
    plan = planning.build(PROFILE, DEVICE, [artefact("a")], threads=1, suites=["memory"])
    assert {job.suite for job in plan.jobs} == {"memory"}


def test_a_model_with_too_little_context_is_skipped_with_the_figures() -> None:
    plan = planning.build(PROFILE, DEVICE, [artefact("a", context=512)], threads=1)
    assert plan.jobs == ()
    (skip,) = plan.skipped
    assert skip.reason == "context_too_short"
    assert "1152" in skip.detail
    assert "512" in skip.detail


@pytest.mark.parametrize(("declared", "allocated"), [(0, 2048), (4096, 2048), (1200, 1200)])
def test_the_cache_never_exceeds_what_the_network_declares(declared: int, allocated: int) -> None:
    plan = planning.build(PROFILE, DEVICE, [artefact("a", context=declared)], threads=1)
    contexts = {job.options.context for job in plan.jobs if job.suite == "latency"}
    assert contexts == {allocated}


def test_job_survives_json() -> None:
    for job in build("a.f16.gguf").jobs:
        assert job_from_json(json.loads(canonical(job))) == job


def test_ids_depend_on_content_and_not_on_place() -> None:
    first = build("a.f16.gguf", "b.f16.gguf")
    second = build("b.f16.gguf", "a.f16.gguf")
    assert {job.id for job in first.jobs} == {job.id for job in second.jobs}
    moved = dataclasses.replace(artefact("a.f16.gguf"), path="/elsewhere/a")
    again = planning.build(PROFILE, DEVICE, [moved, artefact("b.f16.gguf")], threads=2)
    assert {job.id for job in again.jobs} == {job.id for job in first.jobs}


@pytest.mark.parametrize("change", [{"version": 2}, {"weights": {"ttft_s": 1.0}}, {"id": "other"}])
def test_another_profile_gives_other_ids(change: dict[str, object]) -> None:
    ids = {job.id for job in build("a.f16.gguf").jobs}
    assert ids.isdisjoint(job.id for job in build("a.f16.gguf", **change).jobs)


def test_changed_files_give_other_ids() -> None:
    changed = dataclasses.replace(artefact("a.f16.gguf"), sha256={"a.f16.gguf": "1" * 64})
    ids = {job.id for job in planning.build(PROFILE, DEVICE, [changed], threads=2).jobs}
    assert ids.isdisjoint(job.id for job in build("a.f16.gguf").jobs)


def test_another_chat_template_gives_other_ids_to_the_suites_that_show_it() -> None:
    plain, own = artefact("a"), dataclasses.replace(artefact("a"), template_sha256="1" * 64)
    policy = dataclasses.replace(plain.model, chat_template="canonical")
    canonical_one = dataclasses.replace(own, model=policy)
    profile = dataclasses.replace(
        PROFILE,
        suites=dataclasses.replace(
            PROFILE.suites, task=TaskSuite(languages=("ko",), prompts=1, output_tokens=8)
        ),
    )

    def ids(found: Artefact) -> dict[str, set[str]]:
        plan = planning.build(profile, DEVICE, [found], threads=2, prompts={"a": {"ko": ("x",)}})
        return {
            suite: {job.id for job in plan.jobs if job.suite == suite}
            for suite in ("latency", "memory", "task", "accuracy")
        }

    for other in (own, canonical_one):
        before, after = ids(plain), ids(other)
        assert before["latency"] == after["latency"]
        assert before["memory"] == after["memory"]
        assert before["task"].isdisjoint(after["task"])
        assert before["accuracy"].isdisjoint(after["accuracy"])
    assert ids(own)["accuracy"].isdisjoint(ids(canonical_one)["accuracy"])


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True))
def test_plans_are_reproducible_and_ids_unique(names: list[str]) -> None:
    plan, again = build(*names), build(*names)
    assert plan == again
    assert len({job.id for job in plan.jobs}) == len(plan.jobs)
    assert json.loads(canonical(plan)) == json.loads(canonical(to_json(again)))


def test_bench_has_two_cases_or_the_one_asked_for() -> None:
    options = BackendOptions(threads=1)
    both = planning.kernel_job(
        artefact("a"), prompt=512, output=128, repetitions=5, options=options
    )
    assert [case.id for case in both.cases] == ["pp512", "tg128"]
    assert both.timeout_s > 0
    one = planning.kernel_job(artefact("a"), prompt=0, output=8, repetitions=5, options=options)
    assert [case.id for case in one.cases] == ["tg8"]


SUITES = Suites(
    latency=LatencySuite(prompt_tokens=(64,), output_tokens=(8,), depths=(0, 512)),
    task=TaskSuite(languages=("ko", "en"), prompts=2, output_tokens=16),
    kernel=KernelSuite(prompt_tokens=64, output_tokens=8, depths=(0, 128)),
    sustained=SustainedSuite(duration_s=30.0, prompt_tokens=64, output_tokens=8),
    memory=MemorySuite(context=256, output_tokens=8, further_contexts=(1024,), mapped=True),
    energy=EnergySuite(prompt_tokens=64, output_tokens=8),
)
CHATS = {"a": {"ko": ("안녕", "뭐 해"), "en": ("hello", "how are you")}}


def wide(*, context: int = 0, **protocol: object) -> planning.Plan:
    profile = dataclasses.replace(
        PROFILE,
        suites=SUITES,
        protocol=dataclasses.replace(PROFILE.protocol, **protocol),  # type: ignore[arg-type]
    )
    return planning.build(
        profile, DEVICE, [artefact("a", context=context)], threads=2, prompts=CHATS
    )


def cases_by_suite(plan: planning.Plan) -> dict[str, list[Case]]:
    found: dict[str, dict[str, Case]] = {}
    for job in plan.jobs:
        found.setdefault(job.suite, {}).update({case.id: case for case in job.cases})
    return {suite: list(cases.values()) for suite, cases in found.items()}


def test_only_plain_cases_are_scored() -> None:
    scored = {case.id: case.scored for group in cases_by_suite(wide()).values() for case in group}
    assert scored == {
        "fixed-p64-n8": True,
        "fixed-p64-n8@d512": False,
        "chat-ko": True,
        "chat-en": True,
        "pp64": True,
        "tg8": True,
        "pp64@d128": False,
        "tg8@d128": False,
        "sustained-p64-n8": True,
        "c256": True,
        "c256-mmap": False,
        "c1024": False,
        "energy-p64-n8": True,
    }


def test_each_memory_case_has_a_process_and_a_context_of_its_own() -> None:
    jobs = [job for job in wide().jobs if job.suite == "memory" and job.process == 0]
    settings = {job.cases[0].id: (job.options.context, job.options.mmap) for job in jobs}
    assert settings == {"c256": (256, False), "c1024": (1024, False), "c256-mmap": (256, True)}
    assert all(len(job.cases) == 1 and job.cases[0].tokens == job.options.context for job in jobs)


def test_chat_prompts_travel_with_their_case() -> None:
    plan = wide()
    (job,) = [job for job in plan.jobs if job.suite == "task"]
    assert {case.language: case.texts for case in job.cases} == CHATS["a"]
    # A byte is at most a token: the longest text fits whatever the tokeniser does.
    assert job.options.context >= len("how are you") + 16
    silent = planning.build(plan.profile, DEVICE, [artefact("b")], threads=2, prompts=CHATS)
    assert "task" not in {job.suite for job in silent.jobs}


def test_further_processes_are_optional() -> None:
    plan = wide(processes_max={"latency": 5, "memory": 1})
    latency = [job for job in plan.jobs if job.suite == "latency"]
    assert [job.optional for job in latency] == [False] * 3 + [True] * 2
    assert not any(job.optional for job in plan.jobs if job.suite != "latency")
    extra_s = sum(job.estimate_s for job in latency if job.optional)
    assert plan.longest_s == pytest.approx(plan.estimate_s + extra_s)
    assert extra_s > 0


def test_a_shown_case_that_is_too_long_is_left_out_alone() -> None:
    plan = wide(context=512)
    assert {(skip.case, skip.reason) for skip in plan.skipped} == {
        ("c1024", "context_too_short"),
        ("fixed-p64-n8@d512", "context_too_short"),
    }
    assert {case.id for case in cases_by_suite(plan)["memory"]} == {"c256", "c256-mmap"}
    assert "fixed-p64-n8" in {case.id for case in cases_by_suite(plan)["latency"]}


def test_sustained_speed_is_estimated_by_its_duration() -> None:
    (job,) = [job for job in wide().jobs if job.suite == "sustained"]
    assert 30 < job.estimate_s < 40


def test_wide_jobs_survive_json() -> None:
    for job in wide(processes_max={"latency": 5}).jobs:
        assert job_from_json(json.loads(canonical(job))) == job


def test_threads_of_prefill_follow_those_of_decode_unless_they_are_given() -> None:
    found = artefact("a")
    for chosen, expected in (
        (BackendOptions(), (2, 2)),
        (BackendOptions(threads=3), (3, 3)),
        (BackendOptions(threads=3, threads_prefill=5), (3, 5)),
        (BackendOptions(threads_prefill=5), (2, 5)),
    ):
        model = dataclasses.replace(found.model, options=chosen)
        plan = planning.build(PROFILE, DEVICE, [dataclasses.replace(found, model=model)], threads=2)
        options = plan.jobs[0].options
        assert (options.threads, options.threads_prefill) == expected


def test_weights_that_are_widened_take_more_than_their_file() -> None:
    source = Source(kind="folder", path="a")
    model = Model(id="a", family="a", format="safetensors", quantisation="bf16", source=source)
    options = BackendOptions(context=100)
    costs = {"read_bytes": 2000, "kv_bytes": 3}
    found = Artefact(model=model, path="/a", sha256={}, size_bytes=1000, weights=costs)
    assert planning._need_bytes(found, options) == 2300
    unknown = Artefact(model=model, path="/a", sha256={}, size_bytes=1000)
    assert planning._need_bytes(unknown, options) == 1000


def test_a_time_budget_bounds_the_estimate() -> None:
    accuracy = dataclasses.replace(PROFILE.suites.accuracy, items=100_000, budget_s=60.0)  # type: ignore[type-var]
    suites = dataclasses.replace(PROFILE.suites, accuracy=accuracy)
    for budgeted in (PROFILE, dataclasses.replace(PROFILE, suites=suites)):
        plan = planning.build(budgeted, DEVICE, [artefact("a")], threads=2)
        (job,) = [job for job in plan.jobs if job.suite == "accuracy"][:1]
        assert job.estimate_s <= 60
