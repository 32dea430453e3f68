"""The texts on which an export is compared with the PyTorch model it was made from.

Few and fixed, so that the comparison takes seconds and two reports can be held side by side. Each
kind is there for something that goes wrong in an export and stays hidden otherwise:

* ordinary writing in scripts far apart (Chinese, English, Arabic, Japanese, Hindi, Korean,
  Russian, Thai): the embedding rows that real texts use, and the ranges their values take;
* the same question in two languages, and one that is about something else: wrong pooling or a
  wrong head still gives unit vectors, but their similarities differ;
* empty, one token, a few tokens, a paragraph: batches of unlike lengths, where an error in
  positions, padding or masks shows;
* code, numbers, URLs, emoji, a mixed script, combining marks: tokens that are rare, split into
  many pieces or unknown;
* repeated words and special tokens written literally: the sparse head's maximum per id and the
  ids it drops.

:func:`long_reference_text` adds one text near the longest that the model takes: the last rows of
the position table, and attention sums over thousands of tokens, where low precision overflows.
"""

from __future__ import annotations

from itertools import count, cycle
from typing import Final

REFERENCE_TEXTS: Final[tuple[str, ...]] = (
    "",
    "a",
    "好",
    "如何重置支付密码？",
    "How do I reset my payment password?",
    "今天的面条煮得太软了。",
    "The ferry leaves at seven, but the ticket office does not open before eight.",
    "يُغلق المتحف أبوابه يوم الاثنين، ويكون الدخول مجانياً في أول جمعة من كل شهر.",
    "図書館の本は二週間借りることができ、一度だけ延長できます。",
    "बारिश के कारण आज की रेलगाड़ी दो घंटे देर से चलेगी।",
    "비가 그친 뒤에 산책을 나가려고 우산을 현관에 두었다.",
    "Поезд прибывает на третий путь, стоянка двадцать минут.",
    "ร้านกาแฟตรงหัวมุมเปิดตั้งแต่หกโมงเช้าทุกวัน",
    "Die Prüfung der Brücke ergab 17 Mängel, davon 3 schwere (Abschnitt 4.2).",
    'def area(radius: float) -> float:\n    """Circle."""\n    return math.pi * radius**2\n',
    '{"id": 1042, "ok": true, "tags": ["α", "β"], "ratio": 6.02e-23}',
    "SKU 7741-XB/09, batch 2024-06-18, £1,284.50, https://example.com/a?b=c%20d#e",
    "👩🏽\u200d🚀🎉🇧🇷 ❤\ufe0f ∑ₙ 1/n² = π²/6",
    "我用 Python 写了一个 API，返回 café 的 меню 和 السعر بالدولار: $4.50。",
    "re\u0301sume\u0301 ﬁne Ｆｕｌｌｗｉｄｔｈ x\u200by \u202eabc\u202c",
    "knock knock knock KNOCK knock, who is there? knock",
    "The capital of <mask> is </s> Paris <unk><pad>.",
    "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz" * 2,
    "The observatory was built on the island because the air above the sea is steady. For forty "
    "years its keeper wrote down the colour of every sunset, first in pencil, later with a "
    "machine that had lost the letter q. When the books were opened again, nobody cared for the "
    "sunsets. What mattered was the margin, where she had noted each morning which birds had "
    "gone and which had come back: nine thousand lines that show, better than any instrument of "
    "her time, how the winters grew shorter.",
    "茶馆的墙上挂着一张旧地图，边角已经发黄。掌柜说，图上的三条河如今只剩一条，另外两条修路的时候"
    "填掉了，可是每逢大雨，水还是会从老地方冒出来，像是记得自己该往哪里走。年轻人听了都笑，只有"
    "常来喝茶的老木匠不笑，他家的地基，就压在其中一条河上。",
)
"""Texts of 2 to about 120 tokens, special tokens included; the first one is empty."""

# A sentence and its length in tokens of XLM-RoBERTa's vocabulary, without special tokens.
_SENTENCES: Final[tuple[tuple[str, int], ...]] = (
    ("The clerk copied the ledger twice and locked one copy in the cellar.", 19),
    ("北岸的灯塔每隔七秒闪一次，渔民靠它辨认航道。", 22),
    ("Nach dem Regen roch die ganze Straße nach Linden und nassem Staub.", 17),
    ("أعاد الطبيب فحص النتائج قبل أن يكتب الوصفة.", 13),
    ("山の駅には改札がなく、切符は車掌が集める。", 19),
    ("Сторож закрыл ворота и медленно пошёл вдоль реки.", 13),
    ("किसान ने बीज बोने से पहले मिट्टी की जाँच करवाई।", 14),
    ("Le boulanger compte ses sacs de farine chaque premier lundi du mois.", 17),
    ("항구의 시장은 새벽 네 시에 문을 연다.", 14),
    ("Order 5513 was paid, packed and then forgotten for eleven days.", 15),
)


def long_reference_text(tokens: int) -> str:
    """Return a text of at least ``tokens`` tokens, special tokens not counted.

    It is at most one sentence and 10% longer: cut it with ``max_length`` where that matters.

    Numbered sentences of ten languages in turn: no two of them are equal, so that a token's
    context differs wherever it stands. The same length gives the same text.
    """
    parts: list[str] = []
    length_tokens = 0
    for number, (sentence, sentence_tokens) in zip(count(1), cycle(_SENTENCES), strict=False):
        if length_tokens >= tokens:
            break
        parts.append(f"{number}. {sentence}")
        length_tokens += 1 + sentence_tokens  # the number is one token or more
    return " ".join(parts)
