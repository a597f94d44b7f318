"""What the reference models were trained on: apart from every test item."""

import importlib.util
import sys
from itertools import islice
from pathlib import Path

import pytest

from harness.suites.tasks import LANGUAGES, TASKS, item_at

SCRIPT = Path(__file__).parents[3] / "docs" / "reference-models" / "corpus.py"


@pytest.fixture(scope="module")
def corpus():
    spec = importlib.util.spec_from_file_location("reference_corpus", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_imports_without_torch(corpus):
    assert corpus.TRAINING_SEED != corpus.HELD_OUT_SEED != corpus.PUBLIC_SEED
    assert "torch" not in sys.modules


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_training_items_are_neither_public_nor_held_out(corpus, name, language):
    banned = corpus.public_keys()
    trained = {
        corpus.key(item) for item in islice(corpus.training_items(name, language, banned), 4000)
    }
    public = {corpus.key(item_at(name, language, i)) for i in range(corpus.PUBLIC_ITEMS)}
    held_out = {corpus.key(item) for item in corpus.held_out_items(name, language, 20)}
    assert len(trained) > 500
    assert not trained & public
    assert not trained & held_out


def test_documents_are_made_of_training_items_alone(corpus):
    public = corpus.public_keys()
    contexts = set()
    several = 0
    for parts in islice(corpus.documents(), 2000):
        several += len(parts) > 1
        for context, answer in parts:
            assert answer.endswith("\n")
            assert f"{context.removeprefix(chr(10))}\n{answer[:-1]}" not in public
            contexts.add(context)
    assert len(contexts) > 900
    assert 0.05 < several / 2000 < 0.15


def test_documents_are_the_same_each_time(corpus):
    assert list(islice(corpus.documents(), 50)) == list(islice(corpus.documents(), 50))


def test_held_out_items_are_even_over_levels(corpus):
    items = corpus.held_out_items("arith", "ko", 5)
    assert sorted(item.level for item in items) == [1] * 5 + [2] * 5 + [3] * 5
    assert all(corpus.is_held_out(item) for item in items)
    assert corpus.score("arith", items[0].solution, items[0])
    assert not corpus.score("arith", "", items[0])
