"""What our docstrings write as plain text, made safe for Markdown: f* is a conjugate, not emphasis."""

import re

from griffe import Extension, Object

_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(?=[^\s*])([^*\n]+(?:\n[^*\n]+)?)(?<=[^\s*])\1(?![\w*])")
_CODE = re.compile(r"(``?[^`]+``?)")


def escaped(text: str) -> str:
    """The text with stray asterisks, and angle brackets that are no tags, kept as they are."""
    lines = []
    for paragraph in re.split(r"(\n[ ]*\n)", text):
        code = all(line.startswith("    ") or not line.strip() for line in paragraph.split("\n"))
        if paragraph.startswith(">>>"):
            lines.append(f"```pycon\n{paragraph.strip()}\n```")
        else:
            lines.append(paragraph if code or ">>>" in paragraph else _prose(paragraph))
    return "".join(lines)


def _prose(paragraph: str) -> str:
    parts = _CODE.split(paragraph)
    return "".join(part if part.startswith("`") else _marks(part) for part in parts)


def _marks(text: str) -> str:
    out, at = [], 0
    for found in _EMPHASIS.finditer(text):
        out += [_stray(text[at : found.start()]), found.group(1), _stray(found.group(2)), found.group(1)]
        at = found.end()
    return "".join([*out, _stray(text[at:])])


def _stray(text: str) -> str:
    text = re.sub(r"(?<!\\)\*", r"\\*", text)
    text = re.sub(r"(?<!\w)_(?=\w)|(?<=\w)_(?!\w)", r"\\_", text)
    return text.replace("<", "&lt;")


class Plain(Extension):
    """Escapes the docstring of every object once it is loaded."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Escape in place."""
        if obj.docstring is not None:
            obj.docstring.value = escaped(obj.docstring.value)
