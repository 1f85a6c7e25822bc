"""Text for the ear: what a person would say who reads an answer aloud. tests/mcp_client/test_speakable.py is the table.

Sentences are split, and numbers spelled out, by the service.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

_FENCE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(?:.*?\n)??[ \t]*\1[`~]*[ \t]*$|^[ \t]*(?:`{3,}|~{3,})[^\n]*\n.*\Z", re.M | re.S
)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,500}>|<\|[^|<>\n]{0,64}\|>|<\?[^<>\n]*\?>")
_BREAK = re.compile(r"<(?:br|break|p|/p|li|/li|div|/div)\b[^<>]*>", re.I)
_IMAGE = re.compile(r"!\[([^\]\n]*)\](?:\([^)\n]*\)|\[[^\]\n]*\])")
_LINK = re.compile(r"\[([^\]\n]+)\](?:\([^)\n]*\)|\[[^\]\n]*\])")
_LINK_TARGET = re.compile(r"^[ \t]*\[(?!\^)[^\]\n]+\]:[ \t]*\S+.*$", re.M)
_FOOTNOTE = re.compile(r"\[\^[^\]\n]+\]:?")
_CITATION = re.compile(r"【[^】\n]*】")
_URL = re.compile(r"<?\b(?:https?|ftp|file|ssh)://([^\s<>()\[\]\"'`/]+)[^\s<>()\[\]\"'`]*>?")
_MAIL = re.compile(r"\b([\w.+-]+)@([\w-]+(?:\.[\w-]+)+)\b")
_PATH = re.compile(r"(?<![\w/.~])(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[\w.@+-]+[/\\])*([\w.@+-]+)[/\\]?(?!\w)")
_RELATIVE = re.compile(r"(?<![\w/.~])(?:[\w.@+-]+/)+([\w@+-][\w.@+-]*\.[A-Za-z]\w{0,7})\b")
_CODE = re.compile(r"(`+)([^\n]+?)\1")
_STRONG = re.compile(r"(\*\*\*|\*\*|__|~~|==)(?=\S)(.+?)(?<=\S)\1", re.S)
_EMPHASIS = re.compile(r"(?<![\w*])([*_])(?=[^\s*_])([^*_\n]*?[^\s*_])\1(?![\w*])")
_HEADING = re.compile(r"^[ \t]{0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$")
_BULLET = re.compile(r"^[ \t]*(?:[-*+•‣◦–]|\(?\d{1,3}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?")  # noqa: RUF001
_RULE = re.compile(r"^[ \t]*([-*_=])(?:[ \t]*\1){2,}[ \t]*$")
_ROW = re.compile(r"^[ \t]*\|.*\|[ \t]*$|^[^|\n]+\|[^\n]*\|[^\n]*$")
_TABLE_RULE = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_QUOTE = re.compile(r"^[ \t]*(?:>[ \t]?)+")
SHORTEST_WRAPPED = 60  # columns, a wide sign as three: what the service takes for wrapped, too (voice/sentences.py)
_SPACELESS = re.compile("[\u2e80-\ua4cf\uf900-\ufaff\uff00-\uffef]")  # scripts without spaces between words
_SYMBOLS = {
    "&amp;": "and", "&lt;": "less than", "&gt;": "greater than", "&nbsp;": " ", "&quot;": '"', "&#39;": "'",
    "=>": ",", "->": " to ", "→": " to ", "⇒": ",", "←": " from ", "≥": " at least ", "≤": " at most ",
    "≠": " is not ", "!=": " is not ", "==": " equals ", ">=": " at least ", "<=": " at most ", "≈": " about ",
    "✅": " done, ", "❌": " failed, ", "…": "...", "“": '"', "”": '"', "\u2019": "'", "\u2018": "'",
}  # fmt: skip
_SYMBOL = re.compile("|".join(re.escape(symbol) for symbol in sorted(_SYMBOLS, key=len, reverse=True)))
_CLOSED = (".", "!", "?", ":", ";", ",", "。", "！", "？", "：", "…", '"')  # noqa: RUF001


def speakable(text: str) -> str:
    """Plain sentences out of markdown, code, addresses, paths, tables, emoji and markup.

    A line each; an empty one stands between paragraphs, where the service pauses for longer.
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").encode("utf-8", "ignore").decode())
    text = _FENCE.sub("\nCode omitted.\n", text)
    text = _LINK_TARGET.sub("", _TAG.sub("", _BREAK.sub("\n\n", _COMMENT.sub("", text))))
    lines = [_line(line) for line in _unwrapped(_without_tables(text.split("\n")))]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def pieces(text: str, most: int) -> Iterator[str]:
    """The text in parts of at most so many characters, cut where it hurts least: line, sentence, word."""
    while len(text) > most:
        head = text[:most]
        cut = max(head.rfind("\n"), *(head.rfind(end) + 1 for end in (". ", "! ", "? ", "。"))) + 1
        cut = cut if cut > most // 4 else head.rfind(" ") + 1
        cut = cut if cut > most // 4 else most
        yield text[:cut].strip()
        text = text[cut:]
    if text.strip():
        yield text.strip()


def _without_tables(lines: list[str]) -> Iterator[str]:
    i = 0
    while i < len(lines):
        starts = i + 1 < len(lines) and _ROW.match(lines[i]) and "|" in lines[i + 1] and _TABLE_RULE.match(lines[i + 1])
        if not starts:
            yield lines[i]
            i += 1
            continue
        end = i + 2
        while end < len(lines) and "|" in lines[end] and lines[end].strip():
            end += 1
        yield from ("", _table(lines[i], rows=end - i - 2))
        i = end


def _table(header: str, *, rows: int) -> str:
    columns = [cell.strip() for cell in header.strip().strip("|").split("|") if cell.strip()]
    return f"A table of {rows} row{'s' * (rows != 1)}: {', '.join(columns)}."


def _unwrapped(lines: Iterable[str]) -> Iterator[str]:
    """Paragraphs that were wrapped, a line each. Short lines stay apart: verses, and breaks that somebody meant."""
    held, goes_on = "", False
    for line in lines:
        plain = _QUOTE.sub("", line)
        if goes_on and _is_plain(plain):
            held += plain.strip() if _SPACELESS.match(held[-1]) else f" {plain.strip()}"
        else:
            yield held
            held = plain.rstrip()
        goes_on = _goes_on(plain)
    yield held


def _is_plain(line: str) -> bool:
    text = line.strip()
    return text != "" and not _is_emoji(text[0]) and not any(p.match(line) for p in (_HEADING, _BULLET, _RULE, _ROW))


def _goes_on(line: str) -> bool:
    text = line.strip()
    ends = _HEADING.match(line) or _RULE.match(line) or line.endswith(("  ", "\\", *_CLOSED))
    is_one_word = not (" " in text or _SPACELESS.search(text))  # an address
    return not (ends or is_one_word) and _columns(text) >= SHORTEST_WRAPPED


def _columns(line: str) -> int:
    return sum(3 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def _line(line: str) -> str:
    line = _QUOTE.sub("", line)
    if _RULE.match(line):
        return ""
    heading = _HEADING.match(line)
    bullet = _BULLET.match(line)
    line = heading[1] if heading else line
    line = line[bullet.end() :] if bullet else line
    line = _tidy(_inline(line))
    ends = heading or bullet or _columns(line) >= SHORTEST_WRAPPED  # else the service takes it for a wrapped line
    if line and ends and not line.endswith(_CLOSED):
        line += "。" if _SPACELESS.match(line[-1]) else "."
    return line


def _inline(line: str) -> str:
    line = _IMAGE.sub(lambda m: f"Image: {m[1]}." if m[1].strip() else "", line)
    line = _FOOTNOTE.sub("", _LINK.sub(r"\1", line))
    line = _CITATION.sub("", line)
    line = _CODE.sub(lambda m: _code(m[2]), line)
    line = _URL.sub(_host, line)
    line = _MAIL.sub(lambda m: f"{m[1]} at {m[2].replace('.', ' dot ')}", line)
    line = _RELATIVE.sub(r"\1", _PATH.sub(r"\1", line))
    for _ in range(2):  # bold inside italics
        line = _EMPHASIS.sub(r"\2", _STRONG.sub(r"\2", line))
    line = re.sub(r"\\([\\`*_{}\[\]()#+\-.!|>~])", r"\1", line)
    return _SYMBOL.sub(lambda m: _SYMBOLS[m[0]], line)


def _code(code: str) -> str:
    code = code.strip()
    if re.fullmatch(r"[\w.]+\(.*\)", code):  # a call: its name
        code = code.split("(", 1)[0]
    if re.fullmatch(r"\w+", code):  # an identifier: its words
        code = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", code.replace("_", " ")).strip()
    return code


def _host(match: re.Match[str]) -> str:
    trailing = match[0][-1] if match[0][-1] in ".,;:!?" and match[0] != match[1] else ""
    host = match[1].split("@")[-1].split(":")[0].removeprefix("www.").rstrip(".,;:!?")
    return f"a link to {host.replace('.', ' dot ')}{trailing}"


def _tidy(line: str) -> str:
    line = "".join(_visible(character) for character in line)
    line = line.replace("*", " ").replace("`", " ").replace("|", ", ")
    line = re.sub(r"([!?.,])\1{3,}", r"\1", line)
    line = re.sub(r"[ \t\u00a0]+", " ", line).strip()
    line = re.sub(r" +([,.;:!?])", r"\1", line)
    return re.sub(r"^[\s,.:;]+|([,:])\s*(?=[,.;:!?])|\s*,$", "", line)


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":  # joiners and marks of direction stand inside words
        return ""
    return " " if category[0] == "C" or _is_emoji(character) else character


def _is_emoji(character: str) -> bool:
    code = ord(character)
    return (
        0x1F000 <= code <= 0x1FAFF or 0x2600 <= code <= 0x27BF or 0xFE00 <= code <= 0xFE0F or 0x2B00 <= code <= 0x2BFF
    )
