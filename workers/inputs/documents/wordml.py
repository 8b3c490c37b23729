"""WordprocessingML: the text of a package entry of a DOCX, line by line.

A paragraph is a line; a table row is a line with tabs between cells; a text box follows its anchor;
a note follows the line that refers to it. Deleted and moved text is skipped, and so is the fallback
version of a text box for old readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from workers.inputs.documents.model import refuse
from workers.inputs.documents.opc_package import Package

_WORD = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
_MATH = (
    "http://schemas.openxmlformats.org/officeDocument/2006/math",
    "http://purl.oclc.org/ooxml/officeDocument/math",
)
_DRAWING = (
    "http://schemas.openxmlformats.org/drawingml/2006/main",
    "http://purl.oclc.org/ooxml/drawingml/main",
)
_LINKS = (
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    "http://purl.oclc.org/ooxml/officeDocument/relationships",
)
_COMPATIBILITY = ("http://schemas.openxmlformats.org/markup-compatibility/2006",)
_VML = ("urn:schemas-microsoft-com:vml",)


def _names(namespaces: tuple[str, ...], *names: str) -> dict[str, str]:
    """The qualified names of the parser, mapped to the short names."""
    return {f"{namespace} {name}": name for namespace in namespaces for name in names}


_OPEN = _names(_WORD, "p", "tc", "tr", "txbxContent", "footnote", "endnote")
_BETWEEN = {"p": "", "tc": " ", "tr": "\t", "txbxContent": "\n", "footnote": " ", "endnote": " "}
_TEXT = {**_names(_WORD, "t"), **_names(_MATH, "t"), **_names(_DRAWING, "t")}
_SKIPPED = {
    **_names(_WORD, "del", "moveFrom", "tabs"),
    **_names(_COMPATIBILITY, "Fallback"),
}
_SIGNS = {
    **dict.fromkeys(_names(_WORD, "tab", "ptab"), "\t"),
    **dict.fromkeys(_names(_WORD, "cr"), "\n"),
    **dict.fromkeys(_names(_WORD, "noBreakHyphen"), "-"),
}
_BREAK = _names(_WORD, "br")
_BREAK_BEFORE = _names(_WORD, "pageBreakBefore")
_NOTES = {
    **dict.fromkeys(_names(_WORD, "footnoteReference"), "footnote"),
    **dict.fromkeys(_names(_WORD, "endnoteReference"), "endnote"),
}
_IMAGES = {**_names(_DRAWING, "blip"), **_names(_VML, "imagedata")}
_ALIEN = _names(_WORD, "altChunk")
_NO = ("0", "false", "off")
# Most elements are formatting; one set lookup skips them.
_KNOWN = frozenset(
    {
        *_OPEN, *_TEXT, *_SKIPPED, *_SIGNS, *_BREAK, *_BREAK_BEFORE, *_NOTES, *_IMAGES, *_ALIEN,
    }
)  # fmt: skip
_MAX_DEPTH = 300  # nested blocks; a table in a table in a table has 9

NoteKey = tuple[str, str]  # footnote or endnote, and its id


@dataclass(kw_only=True)
class WordmlContent:
    """The content of an entry besides its lines.

    Attributes:
        notes: the texts of the notes, if the entry holds notes.
        images: relationship ids, in the order of the text; may repeat.
        aliens: number of embedded files of other formats (altChunk).
    """

    notes: dict[NoteKey, str] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    aliens: int = 0


def words(
    package: Package,
    part: str,
    *,
    line: Callable[[str], None],
    notes: Mapping[NoteKey, str] | None = None,
) -> WordmlContent:
    """Read an entry.

    Args:
        line: is called with each line, in order; a form feed in it is a page break.
        notes: the notes that lines may refer to.

    Raises:
        UnreadableInput: The entry is broken, or nested too deeply.
    """
    reader = _Reader(line, notes or {})
    package.parse(part, start=reader.start, end=reader.end, text=reader.text)
    reader.flush_notes()
    return reader.content


class _Reader:
    def __init__(self, line: Callable[[str], None], notes: Mapping[NoteKey, str]) -> None:
        self.content = WordmlContent()
        self._line = line
        self._notes = notes
        self._open: list[list[str]] = []  # the content so far of each open block
        self._ids: list[str] = []  # ids of the open notes
        self._referred: list[str] = []  # texts of the notes that the current line refers to
        self._skipped = 0  # depth inside a skipped element
        self._in_text = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self._skipped or name in _SKIPPED:
            self._skipped += 1
        elif name not in _KNOWN:
            return
        elif name in _TEXT:
            self._in_text = True
        elif name in _OPEN:
            if len(self._open) == _MAX_DEPTH:
                refuse(f"nests text more than {_MAX_DEPTH} levels deep, the limit")
            self._open.append([])
            if _OPEN[name] in ("footnote", "endnote"):
                self._ids.append(_attribute(attributes, _WORD, "id"))
        elif name in _SIGNS:
            self._add(_SIGNS[name])
        elif name in _BREAK:
            self._add("\f" if _attribute(attributes, _WORD, "type") == "page" else "\n")
        elif name in _BREAK_BEFORE:
            if _attribute(attributes, _WORD, "val") not in _NO:
                self._add("\f")
        elif name in _NOTES:
            note = self._notes.get((_NOTES[name], _attribute(attributes, _WORD, "id")))
            if note:
                self._referred.append(note)
        elif name in _IMAGES:
            self.content.images += [
                each for key in ("embed", "id") if (each := _attribute(attributes, _LINKS, key))
            ]
        elif name in _ALIEN:
            self.content.aliens += 1

    def end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
        elif name in _TEXT:
            self._in_text = False
        elif name in _OPEN:
            kind = _OPEN[name]
            block = _BETWEEN[kind].join(self._open.pop())
            if kind != "tr":  # a row may begin with an empty cell
                block = block.strip(" \t\n")
            if kind in ("footnote", "endnote"):
                self.content.notes[kind, self._ids.pop()] = block
            elif kind == "txbxContent":
                self._add(f"\n{block}\n")
            elif kind == "tc" or block.strip(" \t\n"):
                self._add(block)
            if not self._open:
                self.flush_notes()

    def flush_notes(self) -> None:
        """Emit the notes referred to since the last line; a paragraph may hold references only."""
        for each in self._referred:
            self._line(each)
        self._referred.clear()

    def text(self, text: str) -> None:
        if self._in_text and not self._skipped:
            self._add(text)

    def _add(self, text: str) -> None:
        """Add text to the open block, or emit it as a line if there is none."""
        if self._open:
            self._open[-1].append(text)
            return
        self._line(text)
        self.flush_notes()


def _attribute(attributes: Mapping[str, str], namespaces: tuple[str, ...], name: str) -> str:
    return next((value for each in namespaces if (value := attributes.get(f"{each} {name}"))), "")
