"""Build `tokenizer.json`: byte-level BPE in which one Hangul syllable is one token.

    python docs/reference-models/tokeniser.py harness/models/weights/tokenizer.json

Merges are written down rather than learnt: the first two bytes of each syllable, then
the third. No merge reaches past a syllable, so a noun and its particle are always apart.
English merges are learnt from the tasks' English text and fill the vocabulary. The
pre-tokeniser is the one that llama.cpp calls "smollm": single digits, then GPT-2's split.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from corpus import TRAINING_SEED, drawn_item, kinds
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from harness.suites.tasks import words
from harness.suites.tasks.josa import coined_syllables

VOCABULARY = 3072
SPECIAL = ("<|endoftext|>", "<|pad|>")
SYLLABLES = 1280
ITEMS_READ = 3000


def byte_characters() -> list[str]:
    """The printable character that stands for each byte, as GPT-2 defined it."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    stand_in = {byte: 256 + position for position, byte in enumerate(others)}
    return [chr(stand_in.get(byte, byte)) for byte in range(256)]


def texts(language: str) -> list[str]:
    """Everything that the tasks write in a language in both forms, on a sample of items."""
    out = []
    for kind in kinds():
        if kind[1] == language:
            for index in range(ITEMS_READ):
                item = drawn_item(kind, index, TRAINING_SEED)
                out.append("\n".join((item.context, item.solution, *item.choices)))
    return out


def syllables() -> list[str]:
    """The syllables that become tokens, in code point order.

    First all that the tasks write, then those of invented words, then the common ones of
    KS X 1001 that end in a vowel or in a frequent consonant, up to `SYLLABLES`.
    """
    lists = (words.KO_THINGS, words.KO_PLACES, words.KO_PEOPLE, words.KO_NAMES)
    written = "".join(texts("ko")) + "".join(word for words_ in lists for word in words_)
    chosen = dict.fromkeys(char for char in written if "가" <= char <= "힣")
    chosen |= dict.fromkeys(coined_syllables())
    for finals in ((0,), (4, 8, 16, 21), (1, 17, 19, 20)):
        for code in range(0xAC00, 0xD7A4):
            if len(chosen) >= SYLLABLES:
                break
            if (code - 0xAC00) % 28 in finals and _is_common(chr(code)):
                chosen[chr(code)] = None
    return sorted(chosen)


def _is_common(syllable: str) -> bool:
    try:
        return len(syllable.encode("euc_kr")) == 2
    except UnicodeEncodeError:
        return False


def hangul_merges() -> list[tuple[str, str]]:
    """First two bytes, then the third, of every chosen syllable."""
    table = byte_characters()
    spelled = [[table[byte] for byte in char.encode()] for char in syllables()]
    pairs = dict.fromkeys((first, second) for first, second, _ in spelled)
    return [*pairs, *((first + second, third) for first, second, third in spelled)]


def pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """Single digits, then GPT-2's split into words."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def english_merges(count: int) -> list[tuple[str, str]]:
    """The first `count` merges learnt from the tasks' English text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + count,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    ascii_only = [text for text in texts("en") if text.isascii()]
    tokenizer.train_from_iterator(ascii_only, trainer)
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def build() -> Tokenizer:
    """The whole tokeniser, with exactly `VOCABULARY` tokens."""
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *byte_characters()))}
    merges = hangul_merges()
    merges += english_merges(VOCABULARY - len(vocabulary) - len(merges))
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    if len(vocabulary) != VOCABULARY:
        raise SystemExit(f"{len(vocabulary)} tokens, not {VOCABULARY}")
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    build().save(str(path))
