"""Rules and frames of the minimal pairs; data only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple


class Case(NamedTuple):
    """A frame with the form that is right in it and one that is wrong."""

    frame: str
    right: str
    wrong: str


class Rule(NamedTuple):
    """One rule of grammar; its name is the template's id."""

    name: str
    level: int
    cases: tuple[Case, ...]


def _both(frames: Iterable[tuple[str, str]], first: str, second: str) -> tuple[Case, ...]:
    """Frames in pairs: the first of each takes `first`, its partner takes `second`."""
    out: list[Case] = []
    for takes_first, takes_second in frames:
        out += [Case(takes_first, first, second), Case(takes_second, second, first)]
    return tuple(out)


def _swapped(rows: Iterable[tuple[str, str, str, str]]) -> tuple[Case, ...]:
    """Rows of a frame, its right form, a second frame and its right form."""
    out: list[Case] = []
    for first_frame, first, second_frame, second in rows:
        out += [Case(first_frame, first, second), Case(second_frame, second, first)]
    return tuple(out)


# Where a particle follows a slot, its words all end in a consonant or all in a vowel.
KO_SLOTS: Final = {
    "who": ("동생이", "친구가", "민수가", "지수가", "언니가", "형이", "학생이", "삼촌이", "누나가"),
    "topic": ("저는", "우리는", "민수는", "지수는", "동생은", "친구는", "형은", "언니는", "유나는"),
    "elder": ("할머니", "할아버지", "선생님", "어머니", "아버지", "교수님", "사장님"),
    "place": ("도서관", "교실", "공원", "집", "식당", "학교", "회사", "카페", "시장"),
    "day": ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일"),
    "num": ("한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉"),
    "adv": ("어제", "오늘", "아까", "지난주에", "아침에", "저녁에"),
    "past": ("어제", "지난주에", "작년에", "그저께", "지난달에"),
    "future": ("내일", "다음 주에", "내년에", "모레", "다음 달에"),
    "food": ("빵", "밥", "떡", "국", "수박", "라면", "생선", "귤"),
    "book": ("책", "신문", "소설", "글", "일기장", "교과서 한 권"),
    "hour": ("한", "두", "세", "네", "다섯", "여섯"),
}

_COUNTED: Final = (
    *(("책", "권", "을"), ("공책", "권", "을"), ("개", "마리", "를"), ("고양이", "마리", "를")),
    *(
        ("연필", "자루", "를"),
        ("볼펜", "자루", "를"),
        ("자동차", "대", "를"),
        ("자전거", "대", "를"),
    ),
    *(
        ("신발", "켤레", "를"),
        ("양말", "켤레", "를"),
        ("나무", "그루", "를"),
        ("장미", "송이", "를"),
    ),
    *(("사진", "장", "을"), ("외투", "벌", "을"), ("토끼", "마리", "를"), ("소설책", "권", "을")),
)


def _counters() -> tuple[Case, ...]:
    """Each noun with its counter, and with each counter that shares no noun with it."""
    counters = dict.fromkeys((counter, end) for _, counter, end in _COUNTED)
    return tuple(
        Case(f"{{who}} {noun} {{num}} {{}} {verb}.", counter + end, other + other_end)
        for noun, counter, end in _COUNTED
        for other, other_end in counters
        if other != counter
        for verb in ("보았습니다", "그렸습니다")
    )


# Verbs whose passive cannot be read as a causative with an object.
_VOICES: Final = (
    ("문", "열렸습니다", "열었습니다"),
    ("창문", "닫혔습니다", "닫았습니다"),
    ("물", "쏟아졌습니다", "쏟았습니다"),
    ("컵", "깨졌습니다", "깼습니다"),
    ("그릇", "깨졌습니다", "깼습니다"),
    ("옷", "찢어졌습니다", "찢었습니다"),
    ("불", "꺼졌습니다", "껐습니다"),
    ("줄", "끊어졌습니다", "끊었습니다"),
    ("비밀", "밝혀졌습니다", "밝혔습니다"),
    ("소문", "퍼졌습니다", "퍼뜨렸습니다"),
)


def _voices() -> tuple[Case, ...]:
    out: list[Case] = []
    for noun, passive, active in _VOICES:
        out += [
            Case(f"{{adv}} {noun}{{}} {passive}.", "이", "을"),
            Case(f"{{who}} {{adv}} {noun}{{}} {active}.", "을", "이"),
        ]
    return tuple(out)


KO_RULES: Final = (
    Rule("counter", 1, _counters()),
    Rule(
        "object-case",
        1,
        (
            Case("{who} {adv} {food}{} 먹었습니다.", "을", "이"),
            Case("{who} {place}에서 {food}{} 샀습니다.", "을", "이"),
            Case("{place}에 {food}{} 있습니다.", "이", "을"),
            Case("{topic} {food}{} 좋습니다.", "이", "을"),
            Case("{place}에 {food}{} 없습니다.", "이", "을"),
            Case("{who} {food}{} 준비했습니다.", "을", "이"),
        ),
    ),
    Rule(
        "order",
        1,
        (
            Case("{topic} {adv} {}.", "밥을 안 먹었습니다", "밥을 먹었습니다 안"),
            Case("{topic} {adv} {}.", "잠을 못 잤습니다", "잠을 잤습니다 못"),
            Case("{who} {} 읽었습니다.", "이 책을", "책을 이"),
            Case("{who} {} 샀습니다.", "그 옷을", "옷을 그"),
            Case("{topic} {} 보았습니다.", "예쁜 꽃을", "꽃을 예쁜"),
            Case("{topic} {} 마셨습니다.", "찬 물을", "물을 찬"),
            Case("{who} 책 {} 빌렸습니다.", "두 권을", "권 두를"),
            Case("{who} 종이 {} 썼습니다.", "세 장을", "장 세를"),
        ),
    ),
    Rule(
        "numeral",
        1,
        (
            Case("{topic} 사과 {} 개를 먹었습니다.", "세", "셋"),
            Case("{topic} 친구 {} 명을 만났습니다.", "네", "넷"),
            Case("{topic} 표 {} 장을 샀습니다.", "두", "둘"),
            Case("{who} 물 {} 잔을 마셨습니다.", "한", "하나"),
            Case("{topic} 올해 {} 살입니다.", "스무", "스물"),
            Case("{who} 산 사과는 모두 {}입니다.", "셋", "세"),
            Case("{topic} 아이가 {}입니다.", "둘", "두"),
            Case("{who} 고른 것은 {}입니다.", "하나", "한"),
            Case("{who} 가진 연필은 {}입니다.", "넷", "네"),
        ),
    ),
    Rule("voice", 2, _voices()),
    Rule(
        "place-particle",
        2,
        _both(
            (
                ("{who} {place}{} 공부했습니다.", "{who} {place}{} 다닙니다."),
                ("{topic} {place}{} 점심을 먹었습니다.", "{topic} {place}{} 있습니다."),
                ("{who} {adv} {place}{} 책을 읽었습니다.", "{who} {adv} {place}{} 도착했습니다."),
                ("{topic} {place}{} 친구를 만났습니다.", "{topic} {place}{} 없었습니다."),
                ("{topic} {place}{} 놀았습니다.", "{who} {place}{} 남았습니다."),
            ),
            "에서",
            "에",
        ),
    ),
    Rule(
        "ending",
        2,
        _swapped(
            (
                ("{topic} {food}을 {} 싶습니다.", "먹고", "{topic} {food}을 {} 않습니다.", "먹지"),
                ("{topic} {book}을 {} 있습니다.", "읽고", "{topic} {book}을 {} 못합니다.", "읽지"),
                (
                    "{topic} {place}에 {} 싶습니다.",
                    "가고",
                    "{topic} {place}에 {} 않습니다.",
                    "가지",
                ),
                ("{topic} {book}을 {} 합니다.", "읽어야", "{topic} {book}을 {} 있습니다.", "읽고"),
                (
                    "{topic} {book}을 {} 수 있습니다.",
                    "읽을",
                    "{topic} {book}을 {} 적이 있습니다.",
                    "읽은",
                ),
                (
                    "{topic} {food}을 {} 수 있습니다.",
                    "먹을",
                    "{topic} {food}을 {} 적이 있습니다.",
                    "먹은",
                ),
            )
        ),
    ),
    Rule(
        "before-after",
        2,
        _swapped(
            (
                (
                    "{food}을 {} 전에 손을 씻었습니다.",
                    "먹기",
                    "{food}을 {} 후에 물을 마셨습니다.",
                    "먹은",
                ),
                (
                    "{book}을 {} 전에 불을 켰습니다.",
                    "읽기",
                    "{book}을 {} 후에 불을 껐습니다.",
                    "읽은",
                ),
                (
                    "{place}에 {} 전에 전화했습니다.",
                    "가기",
                    "{place}에 {} 후에 전화했습니다.",
                    "간",
                ),
                ("잠을 {} 전에 이를 닦았습니다.", "자기", "잠을 {} 후에 운동했습니다.", "잔"),
                ("문을 {} 전에 확인했습니다.", "닫기", "문을 {} 후에 확인했습니다.", "닫은"),
            )
        ),
    ),
    Rule(
        "tense",
        3,
        _swapped(
            (
                (
                    "{topic} {past} {place}에 {}.",
                    "갔습니다",
                    "{topic} {future} {place}에 {}.",
                    "갈 것입니다",
                ),
                (
                    "{who} {past} {food}을 {}.",
                    "샀습니다",
                    "{who} {future} {food}을 {}.",
                    "살 것입니다",
                ),
                (
                    "{topic} {past} 친구를 {}.",
                    "만났습니다",
                    "{topic} {future} 친구를 {}.",
                    "만날 것입니다",
                ),
                (
                    "{who} {past} {book}을 {}.",
                    "읽었습니다",
                    "{who} {future} {book}을 {}.",
                    "읽을 것입니다",
                ),
            )
        ),
    ),
    Rule(
        "relative-tense",
        3,
        _swapped(
            (
                ("{past} {} 책이 재미있었습니다.", "읽은", "{future} {} 책을 골랐습니다.", "읽을"),
                (
                    "{past} {} 사람이 전화했습니다.",
                    "만난",
                    "{future} {} 사람이 전화했습니다.",
                    "만날",
                ),
                ("{past} {} 음식이 맛있었습니다.", "먹은", "{future} {} 음식을 샀습니다.", "먹을"),
                ("{past} {} 옷을 찾았습니다.", "입은", "{future} {} 옷을 찾았습니다.", "입을"),
                ("{past} {} 영화가 길었습니다.", "본", "{future} {} 영화를 골랐습니다.", "볼"),
            )
        ),
    ),
    Rule(
        "honorific",
        3,
        _swapped(
            (
                (
                    "{elder}께서 {place}에서 진지를 {}.",
                    "드셨습니다",
                    "{topic} {place}에서 밥을 {}.",
                    "먹었습니다",
                ),
                ("{elder}께서 {place}에 {}.", "계십니다", "{topic} {place}에 {}.", "있습니다"),
                (
                    "{elder}께서 {past} {book}을 {}.",
                    "읽으셨습니다",
                    "저는 {past} {book}을 {}.",
                    "읽었습니다",
                ),
                ("{elder}께서 방에서 {}.", "주무십니다", "저는 방에서 {}.", "잡니다"),
                (
                    "{elder}께서 {past} {place}에 {}.",
                    "가셨습니다",
                    "저는 {past} {place}에 {}.",
                    "갔습니다",
                ),
            )
        ),
    ),
    Rule(
        "still-already",
        3,
        _swapped(
            (
                (
                    "{topic} 아직 {place}에 {}.",
                    "가지 않았습니다",
                    "{topic} 벌써 {place}에 {}.",
                    "갔습니다",
                ),
                (
                    "{who} 아직 {food}을 {}.",
                    "먹지 않았습니다",
                    "{who} 벌써 {food}을 {}.",
                    "먹었습니다",
                ),
                (
                    "{topic} 아직 {book}을 {}.",
                    "읽지 못했습니다",
                    "{topic} 벌써 {book}을 {}.",
                    "읽었습니다",
                ),
            )
        ),
    ),
    Rule(
        "cause",
        3,
        _swapped(
            (
                (
                    "{day}에 비가 {} 우산을 가져가세요.",
                    "오니까",
                    "{day}에 눈이 {} 미안합니다.",
                    "와서",
                ),
                (
                    "{place} 가는 길이 {} 일찍 가세요.",
                    "막히니까",
                    "{place} 가는 길이 {} 미안합니다.",
                    "막혀서",
                ),
                (
                    "{day}에는 시간이 {} 오늘 오세요.",
                    "없으니까",
                    "{day}에 시간이 {} 죄송합니다.",
                    "없어서",
                ),
                (
                    "{place} 안이 {} 창문을 엽시다.",
                    "더우니까",
                    "{place} 안이 {} 미안합니다.",
                    "더워서",
                ),
                ("{who} {} 조용히 하세요.", "자니까", "{day}에 늦게 {} 죄송합니다.", "자서"),
            )
        ),
    ),
    Rule(
        "clock-numerals",
        3,
        (
            Case("{topic} {hour} 시 {}에 일어났습니다.", "삼십 분", "서른 분"),
            Case("{topic} {hour} 시 {}에 출발했습니다.", "이십 분", "스무 분"),
            Case("{topic} {hour} 시 {}에 만났습니다.", "오 분", "다섯 분"),
            Case("{topic} {} 십 분에 일어났습니다.", "세 시", "삼 시"),
            Case("{topic} {} 이십 분에 출발했습니다.", "다섯 시", "오 시"),
            Case("{topic} {} 삼십 분에 만났습니다.", "두 시", "이 시"),
        ),
    ),
)

EN_SLOTS: Final = {
    "name": ("Tom", "Anna", "Ben", "Mia", "Sam", "Lucy", "Max", "Emma"),
    "one": ("dog", "girl", "teacher", "child", "farmer", "boy", "nurse", "driver", "singer"),
    "many": ("dogs", "girls", "teachers", "children", "farmers", "boys", "nurses", "drivers"),
    "thing": ("book", "key", "letter", "cup", "picture", "bag", "ticket", "lamp"),
    "things": ("books", "keys", "letters", "cups", "pictures", "bags", "tickets", "lamps"),
    "adj": ("old", "small", "new", "red", "big", "clean"),
    "place": ("school", "park", "museum", "station", "market", "office"),
    "past": ("Yesterday", "Last week", "Last year", "Two days ago"),
    "future": ("Tomorrow", "Next week", "Next year", "Soon"),
    "link": ("near", "behind", "beside", "in front of"),
}

EN_RULES: Final = (
    Rule(
        "determiner",
        1,
        _both(
            (
                ("{name} bought {} {adj} {things}.", "{name} bought {} {adj} {thing}."),
                ("We saw {} {many}.", "We saw {} {one}."),
                ("{name} lost {} {things}.", "{name} lost {} {thing}."),
            ),
            "these",
            "this",
        ),
    ),
    Rule(
        "agreement",
        1,
        _both(
            (
                ("The {one} {} here.", "The {many} {} here."),
                ("The {one} {} happy.", "The {many} {} happy."),
                ("The {adj} {thing} {} mine.", "The {adj} {things} {} mine."),
            ),
            "is",
            "are",
        )
        + _both(
            (
                ("The {one} {} a {thing}.", "The {many} {} a {thing}."),
                ("The {one} {} many {things}.", "The {many} {} many {things}."),
            ),
            "has",
            "have",
        ),
    ),
    Rule(
        "modal",
        1,
        _swapped(
            (
                ("{name} can {} well.", "swim", "{name} {} well.", "swims"),
                ("{name} will {} the {thing}.", "find", "{name} often {} the {thing}.", "finds"),
                (
                    "{name} must {} to the {place}.",
                    "walk",
                    "{name} always {} to the {place}.",
                    "walks",
                ),
                (
                    "The {one} should {} the {thing}.",
                    "read",
                    "The {one} never {} the {thing}.",
                    "reads",
                ),
            )
        ),
    ),
    Rule(
        "order",
        1,
        (
            Case("{name} has {}.", "a {adj} {thing}", "a {thing} {adj}"),
            Case("We found {}.", "the {adj} {thing}", "{adj} the {thing}"),
            Case("{} open the door?", "Did {name}", "{name} did"),
            Case("Where {} going?", "is {name}", "{name} is"),
            Case("{name} gave {} to us.", "the {thing}", "{thing} the"),
            Case("The {one} is {}.", "in the {place}", "the in {place}"),
        ),
    ),
    Rule(
        "tense",
        2,
        _swapped(
            (
                (
                    "{past} {name} {} to the {place}.",
                    "went",
                    "{future} {name} {} to the {place}.",
                    "will go",
                ),
                (
                    "{past} the {one} {} a {thing}.",
                    "bought",
                    "{future} the {one} {} a {thing}.",
                    "will buy",
                ),
                ("{past} we {} the {thing}.", "saw", "{future} we {} the {thing}.", "will see"),
                ("{past} it {} cold.", "was", "{future} it {} cold.", "will be"),
            )
        ),
    ),
    Rule(
        "participle",
        2,
        _swapped(
            (
                ("{name} has {} the cake.", "eaten", "{past} {name} {} the cake.", "ate"),
                (
                    "The {one} has {} the {thing}.",
                    "taken",
                    "{past} the {one} {} the {thing}.",
                    "took",
                ),
                ("{name} had {} a letter.", "written", "{past} {name} {} a letter.", "wrote"),
                (
                    "The {many} have {} the {place}.",
                    "seen",
                    "{past} the {many} {} the {place}.",
                    "saw",
                ),
                ("{name} has {} the window.", "broken", "{past} {name} {} the window.", "broke"),
            )
        ),
    ),
    Rule(
        "pronoun-case",
        2,
        _both(
            (
                ("The {one} saw {}.", "{} saw the {one}."),
                ("{name} talked with {}.", "Then {} talked with {name}."),
                ("{name} gave a {thing} to {}.", "Now {} gave a {thing} to {name}."),
            ),
            "him",
            "he",
        )
        + _both(
            (
                ("The {one} helped {}.", "Today {} helped the {one}."),
                ("{name} waited for {}.", "Then {} waited for {name}."),
            ),
            "them",
            "they",
        ),
    ),
    Rule(
        "quantity",
        2,
        _both(
            (
                ("There were {} {things}.", "There was {} water."),
                ("{name} saw {} {many}.", "{name} drank {} milk."),
                ("How {} {things} are there?", "How {} time is there?"),
            ),
            "many",
            "much",
        ),
    ),
    Rule(
        "attractor",
        3,
        _both(
            (
                (
                    "The {one} {link} the {things} {} tired.",
                    "The {many} {link} the {thing} {} tired.",
                ),
                ("The {thing} {link} the {many} {} new.", "The {things} {link} the {one} {} new."),
                (
                    "The {one} that the {many} saw {} kind.",
                    "The {many} that the {one} saw {} kind.",
                ),
            ),
            "is",
            "are",
        ),
    ),
    Rule(
        "reflexive",
        3,
        _both(
            (
                ("The king with the {many} saw {}.", "The queen with the {many} saw {}."),
                ("My uncle near the {many} hurt {}.", "My aunt near the {many} hurt {}."),
                (
                    "The man that the {many} know likes {}.",
                    "The woman that the {many} know likes {}.",
                ),
                ("My brother often talks about {}.", "My sister often talks about {}."),
            ),
            "himself",
            "herself",
        ),
    ),
    Rule(
        "polarity",
        3,
        (
            Case("The {one} {link} the {thing} saw {}.", "something", "anything"),
            Case("The {one} {link} the {thing} has {} lied.", "never", "ever"),
            Case("{name} bought {} {things} at the {place}.", "some", "any"),
            Case("{name} did not find {} {things} at the {place}.", "any", "no"),
            Case("Nobody {link} the {place} saw {}.", "anything", "nothing"),
            Case("Nobody at the {place} has {} lied.", "ever", "never"),
        ),
    ),
    Rule(
        "comparison",
        3,
        _both(
            (("This {thing} is {} than that {adj} one.", "This {thing} is the {} of all."),),
            "better",
            "best",
        )
        + _both(
            (
                (
                    "The {one} {link} the {thing} is {} than {name}.",
                    "The {one} {link} the {thing} is the {} here.",
                ),
                ("{name} is {} than the {one}.", "{name} is the {} of the {many}."),
            ),
            "taller",
            "tallest",
        ),
    ),
)
