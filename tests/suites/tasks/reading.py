"""Reading generated texts back: templates as patterns, and particles by Unicode's own rule."""

import re
import unicodedata
from functools import cache
from string import Formatter

FINALS = dict(zip("0123456789", "ㅇㄹ-ㅁ--ㄱㄹㄹ-", strict=True))


def ends_in_consonant(word, pair):
    """By decomposition: a syllable with a final consonant has three parts."""
    parts = unicodedata.normalize("NFD", word[-1])
    final = FINALS[word[-1]] if word[-1].isdigit() else parts[2:] or "-"
    rieul = final in {"ㄹ", "\u11af"}
    return final != "-" and not (pair == "으로/로" and rieul)


@cache
def pattern(template):
    """A template as a pattern with a group a slot, and one for each particle."""
    out = ""
    for place, (literal, name, pair, _) in enumerate(Formatter().parse(template)):
        text = literal[:1].upper() + literal[1:] if place == 0 else literal
        out += re.escape(text)
        if name is None:
            continue
        out += f"(?P={name})" if f"(?P<{name}>" in out else f"(?P<{name}>[^.?]+?)"
        if pair:
            first, second = pair.split("/")
            out += f"(?:{first}|{second})"
    return re.compile(out)


def read(template, sentence):
    """The slots of a sentence that comes from the template, or None."""
    found = pattern(template).fullmatch(sentence)
    return found and found.groupdict()


def sentences(text):
    """Split behind full stops and question marks."""
    return [part.strip() for part in re.findall(r"[^.?]+[.?]", text)]


def wrong_particles(text, words):
    """Particles behind the given words that do not agree with their last sound."""
    pairs = ("은/는", "이/가", "을/를", "과/와", "으로/로", "이라고/라고")
    forms = {form: pair for pair in pairs for form in pair.split("/")}
    known = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    ending = "|".join(sorted(forms, key=len, reverse=True))
    wrong = []
    for word, form in re.findall(rf"(?<![가-힣])({known})({ending})(?=[ .?])", text):
        with_final = form == forms[form].split("/")[0]
        if with_final != ends_in_consonant(word, forms[form]):
            wrong.append(word + form)
    return wrong
