"""Text of form fields, annotations and signatures of a PDF, by PDFium.

The text of a page lacks them. The visible content decides: for a list the labels of the selected
options; for a checked box or radio button its label and state; for a field without a value (such as
a signature) the text of its appearance. A field may inherit its value from a parent field, which
PDFium resolves once it has loaded the form. No action or script of the form is run, and the form
draws nothing.

PDFium does not list fields without a widget on a page. Of the dictionary of a signature it gives
the reason only: name, place and contact are read if the appearance of the signature shows them.
"""

from __future__ import annotations

import ctypes
import html
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from workers.inputs.documents.model import DocumentBounds, plain

_NO_NOTES = (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP)
_WITH_LETTERS = (raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP)
_CHOICES = (raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX)
_CHECKED = (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON)
_PUSH_BUTTON = 1 << 16  # a flag of a field
# A NUL. PDFium has crashed when it had to show a missing appearance.
_EMPTY_BYTES = 2
_MAX_SIGNATURES = 100  # PDFium searches all of them each time

_LINE_END = re.compile(r"</(?:p|div|li|h\d)\s*>|<br\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The first annotations of a page.

    Attributes:
        texts: the texts of the annotations that have one.
        silent: the indexes of those without a text, but with an appearance that may show one.
    """

    texts: tuple[str, ...]
    silent: frozenset[int]


class Form:
    """The form of a document, loaded when a field first needs it.

    PDFium scans all fields before it adds one: 5,000 take 0.14 s, 20,000 take 3 s, and 100,000 more
    than 75 s. A form above the limit is therefore not loaded, and inherited values are missing.
    """

    def __init__(self, handle: Any, fields: int, bounds: DocumentBounds) -> None:
        self._handle = handle if fields <= bounds.max_fields else None
        self._max_fields = bounds.max_fields
        self._options_left = bounds.max_options

    def read(self, page: pdfium.PdfPage, count: int, max_characters: int) -> Annotations:
        """Read the first `count` annotations of a page, until `max_characters` is exceeded."""
        texts: list[str] = []
        silent: set[int] = set()
        fields = _PageFields(page, self._handle if count <= self._max_fields else None)
        for index in range(count):
            note = raw.FPDFPage_GetAnnot(page, index)
            if not note:
                continue
            subtype = raw.FPDFAnnot_GetSubtype(note)
            if subtype == raw.FPDF_ANNOT_WIDGET:
                text, showing = self._field(fields, note)
            elif subtype in _NO_NOTES:
                text, showing = "", False
            else:
                text = _value(note, b"Contents") or rich(_value(note, b"RC"))
                showing = subtype in _WITH_LETTERS
            if text.strip():
                texts.append(text)
                max_characters -= len(text)
            elif showing and _appearance_bytes(note) > _EMPTY_BYTES:
                silent.add(index)
            raw.FPDFPage_CloseAnnot(note)
            if max_characters < 0:
                break
        return Annotations(texts=tuple(texts), silent=frozenset(silent))

    def _field(self, fields: _PageFields, note: Any) -> tuple[str, bool]:
        """The value of a field, and whether letters of its appearance would be text."""
        own, text = _own_kind(note), _value(note, b"V")
        if own == raw.FPDF_FORMFIELD_TEXTFIELD and text:
            return text, True
        kind = fields.kind(note) or own
        if kind in _CHECKED:
            return fields.state(note), False
        if kind == raw.FPDF_FORMFIELD_PUSHBUTTON:
            return "", True  # it shows its caption instead of its value
        if fields.is_again(note):
            return "", False
        if kind in _CHOICES and fields.form is not None:
            return self._selected_options(fields, note) or fields.value(note), True
        return fields.value(note) or text or rich(_value(note, b"RV")), True

    def _selected_options(self, fields: _PageFields, note: Any) -> str:
        count = min(raw.FPDFAnnot_GetOptionCount(fields.form, note), self._options_left)
        selected = []
        for index in range(count):
            self._options_left -= 1
            if raw.FPDFAnnot_IsOptionSelected(fields.form, note, index):
                selected.append(_text(raw.FPDFAnnot_GetOptionLabel, fields.form, note, index))
        return "\n".join(selected)


class _PageFields:
    """The fields of a page according to the form; without a form, nothing is known."""

    def __init__(self, page: pdfium.PdfPage, form: Any) -> None:
        self.form = form
        self._page = page
        self._strays_added = False
        self._names: set[str] = set()

    def kind(self, note: Any) -> int:
        if self.form is None:
            return int(raw.FPDF_FORMFIELD_UNKNOWN)
        kind = raw.FPDFAnnot_GetFormFieldType(self.form, note)
        if kind < 0 and not self._strays_added and raw.FPDFAnnot_HasKey(note, b"Parent"):
            # A widget missing from the field list: PDFium adds those of a page when it is shown.
            self._strays_added = True
            raw.FORM_OnAfterLoadPage(self._page, self.form)
            raw.FORM_OnBeforeClosePage(self._page, self.form)
            kind = raw.FPDFAnnot_GetFormFieldType(self.form, note)
        return max(int(kind), int(raw.FPDF_FORMFIELD_UNKNOWN))

    def value(self, note: Any) -> str:
        if self.form is None:
            return ""
        return _text(raw.FPDFAnnot_GetFormFieldValue, self.form, note)

    def state(self, note: Any) -> str:
        """The label, if any, and the state of a checked box or button."""
        state = _value(note, b"AS") or _value(note, b"V")
        if state in ("", "Off"):
            return ""
        if self.form is None:
            return state
        value = self.value(note)
        label = _text(raw.FPDFAnnot_GetFormFieldAlternateName, self.form, note)
        return ": ".join(filter(None, (label, state if value in ("", "Off") else value)))

    def is_again(self, note: Any) -> bool:
        """Whether an earlier widget of this page had the same field; values are deduplicated."""
        if self.form is None:
            return False
        name = _text(raw.FPDFAnnot_GetFormFieldName, self.form, note)
        again = name in self._names
        if name:
            self._names.add(name)
        return again


@contextmanager
def opened(document: pdfium.PdfDocument, data: bytes, bounds: DocumentBounds) -> Iterator[Form]:
    """The form of a document. Pages are not attached to it, so that they are drawn without it."""
    config = raw.FPDF_FORMFILLINFO(version=2)
    handle = raw.FPDFDOC_InitFormFillEnvironment(document, config)
    try:
        yield Form(handle or None, data.count(b"/FT"), bounds)
    finally:
        if handle:
            raw.FPDFDOC_ExitFormFillEnvironment(handle)


def show(page: pdfium.PdfPage, indexes: frozenset[int]) -> bool:
    """Flatten the appearances of these annotations, and no others, into the page content.

    The page has no annotations afterwards and must be loaded again.
    """
    for index in range(raw.FPDFPage_GetAnnotCount(page)):
        note = raw.FPDFPage_GetAnnot(page, index)
        if note:
            if index not in indexes:
                raw.FPDFAnnot_SetFlags(note, raw.FPDF_ANNOT_FLAG_HIDDEN)
            raw.FPDFPage_CloseAnnot(note)
    return bool(raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) == raw.FLATTEN_SUCCESS)


def reasons(document: pdfium.PdfDocument) -> list[str]:
    """The reasons of the first signatures; must be read before any `show`."""
    count = min(raw.FPDF_GetSignatureCount(document), _MAX_SIGNATURES)
    signatures = (raw.FPDF_GetSignatureObject(document, index) for index in range(count))
    return [_text(raw.FPDFSignatureObj_GetReason, each).strip() for each in signatures]


def unshown(texts: Iterable[str], shown: Iterable[str]) -> list[str]:
    """The texts that no shown text contains, deduplicated; whitespace is normalised.

    >>> unshown(["I  agree", "Paid", "Paid", ""], ["Signed. I agree"])
    ['Paid']
    """
    words = [" ".join(each.split()) for each in shown]
    return [
        text
        for text in dict.fromkeys(texts)
        if text and not any(" ".join(text.split()) in each for each in words)
    ]


def rich(text: str) -> str:
    """The plain text of an XHTML value.

    >>> rich("<body><p>Tom &amp; <b>Jerry</b></p><p>friends</p></body>")
    'Tom & Jerry\\nfriends'
    """
    return html.unescape(_TAG.sub("", _LINE_END.sub("\n", text))).strip()


def _appearance_bytes(note: Any) -> int:
    return int(raw.FPDFAnnot_GetAP(note, raw.FPDF_ANNOT_APPEARANCEMODE_NORMAL, None, 0))


def _own_kind(note: Any) -> int:
    """The field kind by the widget's own dictionary; 0 if it is not given there."""
    match _value(note, b"FT"):
        case "Tx":
            return int(raw.FPDF_FORMFIELD_TEXTFIELD)
        case "Ch":
            return int(raw.FPDF_FORMFIELD_LISTBOX)
        case "Btn":
            flags = ctypes.c_float()
            raw.FPDFAnnot_GetNumberValue(note, b"Ff", flags)
            pushed = math.isfinite(flags.value) and int(flags.value) & _PUSH_BUTTON
            return int(raw.FPDF_FORMFIELD_PUSHBUTTON if pushed else raw.FPDF_FORMFIELD_CHECKBOX)
    return int(raw.FPDF_FORMFIELD_UNKNOWN)


def _value(note: Any, key: bytes) -> str:
    """A string, stream or name in the annotation's own dictionary."""
    return _text(raw.FPDFAnnot_GetStringValue, note, key)


def _text(get: Any, *args: Any) -> str:
    """The UTF-16 text of a PDFium function, which is called for the size first."""
    size_bytes = get(*args, None, 0)
    buffer = (ctypes.c_ushort * (size_bytes // 2))()
    get(*args, buffer, size_bytes)
    return plain(bytes(buffer).decode("utf-16-le", "ignore"))
