"""Encodings: by mark, by what is said, by what is likely; and what cannot be decoded."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from tests.workers.inputs.streams import chunks, codes_of, data_of, rows_of
from workers.inputs.tables.encodings import encoding_of, utf8
from workers.inputs.tables.file_format import DeclaredFormat

WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
BOMS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
GERMAN = "id;text\n1;Grüße aus München, schöne Straße\n2;Der Käufer möchte es zurückgeben\n"
FRENCH = "id;texte\n1;Très bon produit, livré à temps\n2;Où êtes-vous ? C'était agréable\n"
SPANISH = "id;text\n1;El niño quiere devolver el teléfono mañana\n"
POLISH = "id;tekst\n1;Zażółć gęślą jaźń\n2;Proszę o zwrot pieniędzy, bo urządzenie nie działa\n"
RUSSIAN = "id;text\n1;Привет, как дела? Хочу вернуть товар\n2;Он не работает уже третий день\n"
GREEK = "id;text\n1;Καλημέρα σας, θέλω να επιστρέψω το προϊόν\n"  # noqa: RUF001
JAPANESE = "id,text\n1,こんにちは、商品を返品したいです。\n2,届いた製品が動作しません\n"
CHINESE = "id,text\n1,你好，我想退货，这个产品坏了\n2,请尽快处理我的退款申请\n"  # noqa: RUF001
KOREAN = "id,text\n1,안녕하세요 상품을 반품하고 싶습니다\n"


@pytest.mark.parametrize("encoding", BOMS)
def test_a_mark_tells_it(encoding: str):
    assert encoding_of(BOMS[encoding] + "id".encode(encoding), None) == (encoding, True)


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("text", ["id,text\n1,hello\n", CHINESE, '{"text":"你好"}\n'])
def test_two_and_four_byte_encodings_are_told_without_a_mark(encoding: str, text: str):
    assert encoding_of(text.encode(encoding), None) == (encoding, False)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text",
    [
        GERMAN, RUSSIAN, GREEK, JAPANESE, KOREAN, "id,text\n1,ひらがなのみ\n", "1,はい\n2,いいえ\n",
        "id,text\n1,สวัสดีครับ\n", "id,text\n1,नमस्ते दुनिया\n", "id,text\n1,ਸਤ ਸ੍ਰੀ ਅਕਾਲ\n",
        "a", "id", "text\n",
    ],
)  # fmt: skip
def test_utf16_without_a_mark_is_told_in_any_script(text: str, encoding: str):
    assert encoding_of(text.encode(encoding), None) == (encoding, False)


@pytest.mark.parametrize(
    "text", ["id,text\n1,x\n", GERMAN, CHINESE, "1,a\n2,b\n", '{"text":"a"}\n']
)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
@pytest.mark.parametrize("times", [1, 20])
def test_a_nul_anywhere_does_not_make_a_text_utf16(text: str, encoding: str, times: int):
    if encoding == "cp1252" and text == CHINESE:
        encoding = "gb18030"
    data = (text * times).encode(encoding)
    for place in range(len(data) + 1):
        for nuls in (1, 2):
            head = data[:place] + b"\0" * nuls + data[place:]
            assert not encoding_of(head, None)[0].startswith(("utf-16", "utf-32")), head


@pytest.mark.parametrize("text", ["id,text\n1,x\0y\n2,ok\n", "id,text\n1,\0x\n2,ok\n"])
def test_a_row_with_a_nul_is_a_fault_and_the_others_are_read(text: str):
    rows = rows_of(text.encode())

    assert codes_of(rows) == ["nul_byte", None]
    assert data_of(rows[1:]) == [{"id": "2", "text": "ok"}]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "cp1252"), (FRENCH, "cp1252"), (SPANISH, "cp1252"), (GERMAN, "cp850"),
        (FRENCH, "mac-roman"), (POLISH, "cp1250"), (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"), (RUSSIAN, "cp866"), (GREEK, "cp1253"), (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"), (CHINESE, "gb18030"), (KOREAN, "cp949"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("times", [1, 100])
def test_others_are_guessed_by_their_letters(text: str, encoding: str, times: int):
    data = (text * times).encode(encoding)
    found, bom = encoding_of(data, None)
    assert (data.decode(found), bom) == (text * times, False)


CZECH = """1;Dobrý den, objednal jsem boty a dosud nepřišly.
2;Zboží dorazilo poškozené, žádám o vrácení peněz.
"""
POLES = """1;Zamówiłem buty i do tej pory nie dotarły, gdzie są?
2;Proszę o zwrot pieniędzy, obciążono mnie dwa razy.
"""
HUNGARIAN = """1;Két hete rendeltem cipőt, de még nem érkezett meg.
2;Köszönöm a gyors ügyintézést, nagyszerű volt!
"""
LATVIAN = """1;Pirms divām nedēļām pasūtīju apavus, bet sūtījums vēl nav pienācis.
2;Prece ir bojāta, un trūkst instrukcijas. Kāpēc tāda kļūme, lūdzu?
"""
TURKISH = """1;İki hafta önce sipariş ettim, hâlâ gelmedi.
2;Şifre değil, çözüm için teşekkür ederim, şükür.
"""


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CZECH, "cp1250"), (CZECH, "iso8859_2"), (CZECH, "cp852"), (POLES, "cp1250"),
        (POLES, "cp852"), (HUNGARIAN, "cp1250"), (HUNGARIAN, "cp852"), (LATVIAN, "cp1257"),
        (TURKISH, "cp1254"), (TURKISH, "cp857"),
        ("1;déjà vu à Noël\n", "cp1252"), ("1;São Paulo\n2;informação\n", "cp1252"),
        ("1;São Paulo\n2;informação\n", "cp850"), ("1;Kosten 15 € für Müller\n", "iso8859_15"),
    ],
)  # fmt: skip
def test_languages_of_europe_are_told_by_their_alphabets(text: str, encoding: str):
    data = f"id;text\n{text}".encode(encoding)

    assert data.decode(encoding_of(data, None)[0]) == f"id;text\n{text}"


UMLAUTS = "Nr;Text\r\n1;Können Sie die Tür öffnen?\r\n2;Die Männer hätten gern mehr Öl\r\n"
WESTERN = {
    "german": GERMAN,
    "umlauts": UMLAUTS,
    "one umlaut": "Nr;Text\r\n1;Wir können nicht bezahlen\r\n",
    "sharp s": "Nr;Text\r\n1;Die Größe der Straße gefällt\r\n",
    "french": FRENCH,
    "plain french": "Nr;Texte\r\n1;La commande est arrivée abîmée\r\n2;Très déçu\r\n",
    "spanish": SPANISH,
    "plain spanish": "Nr;Texto\r\n1;El señor llamó por teléfono\r\n2;¿Dónde está?\r\n",
}


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "cp850", "mac-roman"])
@pytest.mark.parametrize("name", WESTERN)
@pytest.mark.parametrize("times", [1, 40])
def test_western_texts_of_windows_dos_and_mac(name: str, encoding: str, times: int):
    text = WESTERN[name] * times
    data = text.encode(encoding)

    assert data.decode(encoding_of(data, None)[0]) == text


@pytest.mark.parametrize(
    "line",
    [
        "1;Rechnung über 5€ – “falsch”;1.234,56",  # noqa: RUF001
        "1;„Größe“ fehlt – 10 €",  # noqa: RUF001
        "1;Er sagte „sofort“",
        "1;L’été à l’hôtel « près » d’œuvre",  # noqa: RUF001
        "1;±5°C ½ l",
        "1;‘single’ quotes – really…",  # noqa: RUF001
        "1;¿Dónde está mi paquete? ¡Rápido!",
    ],
)
@pytest.mark.parametrize("times", [1, 30])
def test_quotes_and_dashes_of_an_export_are_of_cp1252(line: str, times: int):
    text = "Nr;Text;Betrag\r\n" + f"{line}\r\n" * times
    data = text.encode("cp1252")
    assert data.decode(encoding_of(data, None)[0]) == text


@pytest.mark.parametrize("text", [GERMAN, JAPANESE, "plain", ""])
def test_utf8_comes_first_even_if_the_head_ends_in_a_character(text: str):
    for cut in range(len(text.encode()) + 1):
        assert encoding_of(text.encode()[:cut], None) == ("utf-8", False)


def test_a_few_broken_lines_do_not_make_utf8_another_encoding():
    data = (GERMAN * 5).encode() + "kaputte Größe\n".encode("cp1252")
    assert encoding_of(data, None) == ("utf-8", False)


@pytest.mark.parametrize(
    ("said", "data", "found"),
    [
        ("UTF8", b"a", ("utf-8", False)),
        ("utf-8-sig", BOMS["utf-8"] + b"a", ("utf-8", True)),
        ("utf-16", BOMS["utf-16-be"] + b"\0a", ("utf-16-be", True)),
        ("utf-16", b"\0a\0,\0b\0\n", ("utf-16-be", False)),
        ("utf-16", b"", ("utf-16-le", False)),
        ("utf-32", "ab".encode("utf-32-be"), ("utf-32-be", False)),
        ("latin-1", "é".encode(), ("iso8859-1", False)),
        ("windows-1252", b"a", ("cp1252", False)),
        ("Shift_JIS", b"a", ("shift_jis", False)),
    ],
)
def test_what_is_said_wins(said: str, data: bytes, found: tuple[str, bool]):
    assert encoding_of(data, said) == found


@pytest.mark.parametrize("said", ["nonsense", "", "rot13", "base64", "utf-7", "cp037", "hz", "a\0"])
def test_an_encoding_that_is_not_read_is_refused(said: str):
    with pytest.raises(
        InvalidRequest, match="encoding: unsupported encoding; supported are"
    ) as caught:
        encoding_of(b"a", said)
    assert caught.value.fields[0].field == "encoding"


@given(
    st.text(),
    st.sampled_from(["utf-8", *WIDE]),
    st.booleans(),
    st.lists(st.integers(1, 5), min_size=1),
)
def test_unicode_becomes_utf8_wherever_chunks_end(
    text: str, encoding: str, bom: bool, sizes: list[int]
):
    text = text.removeprefix("\ufeff")
    data = (BOMS[encoding] if bom else b"") + text.encode(encoding)
    assert b"".join(utf8(chunks(data, sizes), encoding)) == text.encode()


@pytest.mark.parametrize(
    ("encoding", "broken"),
    [
        ("utf-8", b"\xff"),
        ("utf-8", b"\xed\xa0\x80"),
        ("utf-8", b"\xc0\x80"),
        ("utf-16-le", b"\x00\xd8"),
        ("utf-16-be", b"\xdc\x00"),
        ("utf-32-le", b"\x00\xd8\x00\x00"),
        ("utf-32-be", b"\xff\xff\xff\xff"),
        ("cp1252", b"\x81"),
        ("shift_jis", b"\xff"),
    ],
)
def test_what_cannot_be_decoded_is_a_fault_of_its_line_alone(encoding: str, broken: bytes):
    def coded(text: str) -> bytes:
        return broken.join(each.encode(encoding) for each in text.split("?"))

    said = DeclaredFormat(format="csv", encoding=encoding)
    csv = rows_of(coded("id,text\n1,one\n2,t?o\n3,three\n"), declared=said)
    said = DeclaredFormat(format="jsonl", encoding=encoding)
    jsonl = rows_of(coded('{"a":1}\n{"a":"?"}\n{"a":3}\n'), declared=said)

    assert codes_of(csv) == codes_of(jsonl) == [None, "undecodable", None]
    assert data_of(csv)[2] == {"id": "3", "text": "three"}
    assert csv[1].fault is not None
    assert csv[1].fault.message.startswith("is not ")


@pytest.mark.parametrize("encoding", WIDE)
def test_a_file_that_ends_within_a_character_has_a_fault_in_its_last_line(encoding: str):
    data = "text\none\ntwo".encode(encoding)[:-1]
    assert codes_of(rows_of(data, declared=DeclaredFormat(format="csv", encoding=encoding))) == [
        None,
        "undecodable",
    ]


def test_the_fault_names_the_byte_and_its_place():
    (row,) = rows_of(b'{"a":"\xe9"}', declared=DeclaredFormat(encoding="utf-8"))
    assert row.fault is not None
    assert "is not valid UTF-8: byte 0xE9 at position 7 " in row.fault.message
