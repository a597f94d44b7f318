"""What the reference models were trained on: apart from every test item."""

import importlib.util
import sys
from itertools import islice
from pathlib import Path

import pytest

from harness.suites.tasks import FORMS, LANGUAGES, TASKS, item_at
from harness.suites.tasks.base import Setting

SCRIPT = Path(__file__).parents[3] / "docs" / "reference-models" / "corpus.py"
NAMES = ("arith", "calendar", "josa", "pairs")
KINDS = [(name, language, form) for name in NAMES for language in LANGUAGES for form in FORMS]


@pytest.fixture(scope="module")
def corpus():
    spec = importlib.util.spec_from_file_location("reference_corpus", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # The other tasks write longer items, which would only take time here.
    module.TASKS = {name: TASKS[name] for name in NAMES}
    return module


def test_it_imports_without_torch(corpus):
    assert corpus.TRAINING_SEED != corpus.HELD_OUT_SEED != corpus.PUBLIC_SEED
    assert "torch" not in sys.modules


def test_every_task_has_a_share(corpus):
    assert set(corpus.SHARES) == set(TASKS)
    assert set(corpus.kinds()) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_training_items_are_neither_public_nor_held_out(corpus, kind):
    name, language, form = kind
    banned = corpus.public_keys()
    trained = {corpus.key(item) for item in islice(corpus.training_items(kind, banned), 3000)}
    setting = Setting(language=language, form=form, longest_tokens=corpus.LENGTHS[0])
    public = {corpus.key(item_at(name, setting, i)) for i in range(corpus.PUBLIC_ITEMS)}
    held_out = {corpus.key(item) for item in corpus.held_out_items(kind, 20)}
    assert len(trained) > 500
    assert not trained & public
    assert not trained & held_out


def test_long_texts_come_in_all_lengths_and_none_is_public(corpus):
    kind = ("longctx", "ko", "choice")
    trained = [corpus.drawn_item(kind, i, corpus.TRAINING_SEED) for i in range(40)]
    sizes = {item.check["size"] for item in trained}
    assert sizes == {*corpus.LENGTHS}
    for longest in corpus.LENGTHS:
        public = {
            corpus.key(corpus.drawn_item(kind, i, corpus.PUBLIC_SEED, longest)) for i in range(40)
        }
        assert not public & {corpus.key(item) for item in trained}


def test_documents_are_made_of_training_items_alone(corpus):
    public = corpus.public_keys()
    contexts = set()
    several = 0
    forms = {"choice": 0, "free": 0}
    for parts in islice(corpus.documents(), 2000):
        several += len(parts) > 1
        for context, answer in parts:
            assert answer.endswith("\n")
            assert context.removeprefix("\n") + answer[:-1] not in public
            contexts.add(context)
            forms["free" if context.endswith(("\n답:", "\nAnswer:")) else "choice"] += 1
    assert len(contexts) > 900
    assert 0.05 < several / 2000 < 0.15
    assert 0.45 < forms["free"] / sum(forms.values()) < 0.55


def test_documents_follow_the_shares(corpus):
    only = dict.fromkeys(NAMES, 0) | {"pairs": 1}
    for parts in islice(corpus.documents(only), 100):
        assert all("올바른 문장" in c or "orrect" in c for c, _ in parts)


def test_documents_are_the_same_each_time(corpus):
    assert list(islice(corpus.documents(), 50)) == list(islice(corpus.documents(), 50))


@pytest.mark.parametrize("form", FORMS)
def test_held_out_items_are_even_over_levels(corpus, form):
    items = corpus.held_out_items(("arith", "ko", form), 5)
    assert sorted(item.level for item in items) == [1] * 5 + [2] * 5 + [3] * 5
    assert all(corpus.is_held_out(item) for item in items)


def test_scores_are_lenient_marks(corpus):
    item = corpus.held_out_items(("arith", "ko", "free"), 1)[0]
    assert corpus.score("arith", item.solution, item)
    assert corpus.score("arith", f"답은 {item.answer}입니다.", item) or not item.answer.isdigit()
    assert not corpus.score("arith", "", item)
