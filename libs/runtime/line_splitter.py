"""Bytes as they come from a pipe, made into lines of text with a bounded length."""

import codecs


class LineSplitter:
    """Splits at \\n, \\r\\n and a lone \\r (progress meters).

    A line of more than `longest` characters comes in pieces of that length.
    Bytes that are no UTF-8 become U+FFFD. Nothing else is changed: what a line may do to a terminal or a page
    is for those to guard against.
    """

    def __init__(self, longest: int):
        self._longest = longest
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._after_return = False

    def feed(self, chunk: bytes, *, last: bool = False) -> list[str]:
        """The lines that `chunk` completes; with `last`, also what stands after the last line's end."""
        text = self._decoder.decode(chunk, last)
        if self._after_return and text.startswith("\n"):
            text = text[1:]
            self._after_return = False
        if text:
            self._after_return = text.endswith("\r")
        *whole, self._rest = (self._rest + text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
        if last and self._rest:
            whole, self._rest = [*whole, self._rest], ""
        if len(self._rest) > self._longest:
            *pieces, self._rest = self._cut(self._rest)
            whole.extend(pieces)
        return [piece for line in whole for piece in self._cut(line)]

    def _cut(self, line: str) -> list[str]:
        if len(line) <= self._longest:
            return [line]
        return [line[start : start + self._longest] for start in range(0, len(line), self._longest)]
