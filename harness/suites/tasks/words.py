"""Word lists of the generated tasks. Every list is data; order is part of each item."""

from __future__ import annotations

from typing import Final

from harness.suites.tasks.hangul import final_consonant


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


KO_THINGS: Final = _split("""
    사과 배추 모자 바지 치마 시계 의자 지도 카메라 라디오 기타 피아노 우유 주스 커피 과자 고구마
    감자 양파 오이 호두 포도 자두 딸기 바나나 토마토 두부 국수 고추 후추 소스 버터 치즈 케이크
    피자 샐러드 카드 노트 테이프 가위 망치 바구니 상자 봉투 엽서 편지 종이 잡지 교과서 접시 냄비
    컴퓨터 모니터 마우스 프린터 스피커 베개 담요 수세미 비누 휴지 주전자 도마 국자 포크 나무 장미
    해바라기 허리띠 목도리 머리띠 열쇠고리 지우개 크레파스 바위 모래 자전거 기차 버스 택시 배
    비행기 배터리 전자레인지 냉장고 세탁기 청소기 선풍기 난로 램프 거미 나비 고래 토끼 참외 조끼
    다람쥐 여우 오리 거위 제비 개미 메뚜기 고기 새우 조개 참치 고등어 김치 무 열쇠 구두 부채 그네
    책 연필 볼펜 공책 가방 필통 물 빵 떡 밥 국 김 콩 쌀 옷 신발 양말 장갑 안경 수건 거울 칼 우산
    달력 신문 사진 그림 인형 장난감 공 연 꽃 풀 돌 흙 얼음 기름 소금 설탕 꿀
    간장 된장 고추장 귤 감 밤 수박 당근 마늘 호박 버섯 달걀 닭 말 양 곰 사슴 뱀 거북 벌 지하철
    트럭 책상 서랍 옷장 창문 텔레비전 휴대폰 칫솔 빗 솔 실 바늘 끈 줄 통 병 컵 잔
    그릇 쟁반 냅킨 숟가락 젓가락 주걱 가마솥 북 종 풍선 구슬 윷 리본 색연필 물감 붓 도장 수첩 알약
    반지 귀걸이 팔찌 목걸이 손수건 지갑 동전 선물 과일 생선 나물 이불 방석 화분 액자 상추 살구
""")
"""Things that one can buy, hold or see, with and without a final consonant."""

KO_PLACES: Final = _split("""
    제주 광주 전주 청주 경주 나주 진주 파주 여주 원주 공주 상주 양주 충주 여수 대구 구미 파리 로마
    도쿄 오사카 교토 나고야 후쿠오카 삿포로 상하이 시드니 캔버라 뉴델리 하노이 마닐라 두바이
    자카르타 헬싱키 오슬로 아테네 나폴리 피렌체 바르셀로나 제네바 취리히 타이베이 싱가포르
    프라하 바르샤바 모스크바 카이로 나이로비 토론토 오타와 시카고 하와이 리마 보고타 아바나
    학교 회사 바다 카페 시내 휴게소 미용실 부산 인천 대전 울산 세종 수원 성남 용인 안산 안양 강릉
    속초 춘천 천안 아산 서산 당진 군산 목포 순천 포항 안동 창원 김해 통영 거창 남원 서귀포
    런던 베를린 뮌헨 마드리드 리스본 더블린 베른 빈 로잔 밀라노 스톡홀름 레이캬비크 방콕 홍콩
    베이징 뉴욕 보스턴 워싱턴 휴스턴 밴쿠버 다낭 양곤 평양 개성 시장 멜버른 코펜하겐
    병원 은행 공항 식당 극장 박물관 미술관 도서관 운동장 수영장 공원 정류장 산 섬 들판 마을 집
    서울 이스탄불 호텔 교실 사무실 화장실 거실 진료실 브라질 포르투갈 네팔 세네갈 카불 브뤼셀
    터미널 미술실 음악실 과학실 독서실 회의실 연구실 응급실 체육실 휴게실 대기실 전시실 상담실
    골목길 산길 시골 갯벌 호숫길 들길 언덕길 오솔길 올레길 바닷길 숲길 바람길 눈길
""")
"""Places that one can go to; ㄹ finals are many, since 으로/로 turns on them."""

KO_PEOPLE: Final = _split("""
    의사 간호사 변호사 요리사 교사 기자 가수 배우 화가 작가 감독 경찰관 소방관 군인 농부 어부
    친구 선배 후배 언니 누나 오빠 아버지 어머니 할머니 할아버지 이모 고모 삼촌 사촌 동생 형 아들
    딸 조카 손자 손녀 선생님 교수님 사장님 부장님 과장님 학생 신입생 회원 직원 점원 손님 이웃
    주인 운전사 조종사 승무원 미용사 약사 판사 검사 비서 연구원 번역가 통역사 사진사 관광객 외국인
""")
"""People that one can meet."""

KO_NAMES: Final = _split("""
    민수 지수 영희 철수 미나 유나 수지 지우 서우 은서 민지 현지 하나 유리 소라 지아 채이 도하
    주하 윤호 진호 준호 성호 태오 현우 건우 선우 승우 지호 시우 재희 다희 민서 연우 이서 아라
    민준 서준 예준 도윤 하준 지훈 현준 우진 건원 서연 하은 지민 수민 채원 지원 다은 예은 소연
    은별 한별 하늘 가을 샛별 보람 예슬 이슬 한결 한솔 진솔 태양 재범 성민 동혁 영철 종석 아람
""")
"""Given names."""

KO_ACRONYMS: Final = _split("""
    KBS MBC SBS SK KT TV PC CD DVD USB AI IT SNS CEO GPS LED LCD MRI CCTV PDF PPT GDP KTX UFO EU
    LG BTS IOC UPS HD SUV API NGO WHO WTO FAQ QA CPU GPU SSD
    ATM FM IBM XML HTML SQL URL UN VPN BGM OEM CNN ESPN GM BM KM PM DSL AFL NFL NHL SL XL CL
""")
"""Abbreviations that are read letter by letter; none ends in R, which is read two ways."""


def by_final(words: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Words in three groups: `none`, `rieul` and `other` final consonant."""
    groups: dict[str, list[str]] = {"none": [], "rieul": [], "other": []}
    for word in dict.fromkeys(words):
        final = final_consonant(word)
        groups["none" if not final else "rieul" if final == "ㄹ" else "other"].append(word)
    return {name: tuple(members) for name, members in groups.items()}


EN_VOWEL_NOUNS: Final = _split("""
    apple orange egg onion olive oven umbrella uncle aunt actor artist author engineer editor
    animal ant ape eagle elephant owl otter ostrich octopus eel insect island ocean iceberg igloo
    idea image inch index invoice iron item ivy arm ankle ear eye elbow angle arrow axe anchor
    album answer apron arch attic award engine envelope error essay exam example exit evening
    event edge oar oak office opera order organ outfit address advert airport aisle alarm alley
    almond avocado acorn apricot artichoke aquarium accident apartment armchair escalator elevator
""")
EN_CONSONANT_NOUNS: Final = _split("""
    banana lemon pear peach melon cherry grape carrot potato tomato cabbage cat dog horse cow pig
    sheep goat rabbit mouse tiger lion bear wolf fox whale shark duck goose swan parrot snake frog
    table chair desk lamp sofa mirror carpet curtain window door roof wall garden kitchen bedroom
    book pen pencil notebook letter magazine newspaper map ticket camera phone radio laptop key
    hat coat shirt skirt jacket scarf glove sock shoe belt ring watch bag basket bottle cup plate
    bowl knife fork spoon towel brush comb candle clock bell drum guitar piano violin flute kite
    ball doll puzzle train bus taxi truck boat ship plane bicycle bridge tower castle museum
    doctor nurse teacher farmer singer writer dancer driver baker painter pilot lawyer judge
""")
EN_VOWEL_SOUNDS: Final = (
    *("hour", "heir", "heirloom", "honest man", "honest answer", "honour", "MP", "FBI agent"),
    *("NBA player", "MRI scan", "LP record", "RSVP card", "HTML file", "SMS message", "X-ray"),
    *("8-page book", "11-page book", "18-page book", "80-page book", "NGO", "SUV", "LED lamp"),
    *("unknown man", "unusual day", "uncle", "umpire", "ugly hat", "upper room", "hourglass"),
    *("hourly bus", "8-year-old boy", "11-year-old girl", "18-year-old man", "XML file"),
)
"""Phrases that begin with a vowel sound; most begin with a consonant letter or a digit."""

EN_CONSONANT_SOUNDS: Final = (
    *("university", "uniform", "union", "unique idea", "useful tool", "usual day", "ukulele"),
    *("European city", "euro", "one-way street", "one-eyed cat", "UFO", "USB cable", "UK coin"),
    *("eulogy", "utensil", "unit", "universe", "once-great team", "7-page book", "10-page book"),
    *("1-page letter", "12-page book", "70-page book", "utility", "united team", "ewe"),
    *(
        "user",
        "unicorn",
        "one-man show",
        "7-year-old boy",
        "10-year-old girl",
        "hotel",
        "honey jar",
    ),
    *("hospital", "PDF file"),
)
"""Phrases that begin with a consonant sound; most begin with a vowel letter or a digit."""

EN_PERSONS: Final = _split("""
    teacher student doctor nurse farmer singer writer dancer driver baker painter pilot lawyer
    judge waiter sailor soldier manager neighbour cousin sister brother boy girl friend player
    actor artist author engineer editor uncle aunt customer visitor guest
""")
"""Countable people whose plural adds an s."""

EN_THINGS: Final = _split("""
    book letter picture key cup plate bottle lamp clock chair table window door ticket coat
    shirt bag basket ball toy card coin map flower tree apple orange egg cake
""")

EN_IRREGULAR: Final = (
    *(("child", "children"), ("man", "men"), ("woman", "women"), ("mouse", "mice")),
    *(("goose", "geese"), ("tooth", "teeth"), ("foot", "feet"), ("person", "people")),
    *(("ox", "oxen"), ("policeman", "policemen"), ("fireman", "firemen")),
)
"""Singular and plural."""
