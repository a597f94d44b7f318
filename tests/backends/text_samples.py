"""Strings on which two tokenisers part company if anything in them differs."""

from __future__ import annotations

import random

ENGLISH = [
    "The",
    "sum",
    "of",
    "57",
    "and",
    "68",
    "isn't",
    "12,500.75;",
    "I'll",
    "re-check",
    "it's",
    "O'Brien's",
    "API_v2!",
]
KOREAN = [
    "우리",
    "집",
    "고양이는",
    "12살이다",
    "서울특별시",
    "은/는",
    "닭을",
    "값어치",
    "뷁",
    "꿹",
    "한국어와",
    "3.5만원을",
]
HANJA = ["漢字", "大韓民國", "金", "樂", "人工知能", "𠀋", "㐀"]
EMOJI = ["🙂", "👍🏽", "👨‍👩‍👧‍👦", "🇰🇷", "❤️", "1️⃣"]
SPACES = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\n\n",
    "\r",
    " \r\n ",
    "\u00a0",
    "\u3000",
    "\u200b",
]
CONTROL = [chr(code) for code in (0, 1, 7, 8, 11, 12, 27, 127, 0x85, 0x2028)]
MARKS = [*"\"'`.,;:!?…·~-_=+*/\\|()[]{}<>@#$%^&", "<|endoftext|>", "<|pad|>", "<eos>", "―", "「」"]
DIGITS = ["0", "7", "42", "2026", "000123", "3.14159", "1,234,567", "٣", "½", "Ⅳ", "１２"]


def samples(count: int, seed: int = 2026) -> list[str]:
    """`count` different strings: every piece alone, then seeded mixtures."""
    random_ = random.Random(seed)
    syllables = [chr(code) for code in range(0xAC00, 0xD7A4)]
    jamo = [chr(code) for code in [*range(0x3131, 0x3164), *range(0x1100, 0x1113), 0x1161, 0x11A8]]
    pieces = [ENGLISH, KOREAN, HANJA, EMOJI, SPACES, CONTROL, MARKS, DIGITS, jamo]
    found = dict.fromkeys(piece for group in pieces for piece in group)
    while len(found) < count:
        parts = []
        for _ in range(random_.randint(1, 14)):
            group = random_.choice([*pieces, syllables, SPACES, KOREAN])
            parts.append(random_.choice(group))
            if random_.random() < 0.3:
                parts.append(" ")
        found["".join(parts)] = None
    return list(found)
