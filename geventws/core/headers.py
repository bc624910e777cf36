"""HTTP headers: a case-insensitive multidict, in order and spelling (RFC 9110, section 5)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping

__all__ = ["Headers", "HeadersLike", "MultipleValuesError"]

# RFC 9110, section 5.6.2: "token = 1*tchar".
is_token = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+").fullmatch

# RFC 9110, section 5.5: tabs, spaces, visible characters, and obs-text read as ISO-8859-1.
# Everything else, CR and LF above all, would let a value write headers of its own.
is_value = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch

_COMMON_NAMES = """
    Accept Accept-Encoding Accept-Language Authorization Cache-Control Connection
    Content-Length Content-Type Cookie Date DNT Forwarded Host Origin Pragma Referer
    Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-WebSocket-Accept
    Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol
    Sec-WebSocket-Version Server Set-Cookie Upgrade User-Agent X-Forwarded-For
    X-Forwarded-Host X-Forwarded-Port X-Forwarded-Proto X-Real-IP X-Request-ID
""".split()

# One string for all connections that carry the same name. A name found here is known to be
# a token, too.
WELL_KNOWN_NAMES = {
    name: sys.intern(name) for common in _COMMON_NAMES for name in (common, common.lower())
}


class MultipleValuesError(LookupError):
    """A header that was asked for as one value is there several times."""

    def __str__(self) -> str:
        name = self.args[0] if self.args else "header"
        return f"{name} is there several times; use get_all() to get all its values"


class Headers(MutableMapping[str, str]):
    """HTTP headers: a mapping that ignores the case of names and keeps repeated headers.

    - ``headers[name]`` is the header's value; `KeyError` if it is missing,
      `MultipleValuesError` if it is there several times: then use `get_all`.
    - ``headers[name] = value`` adds a header; it does not replace one.
    - ``del headers[name]`` removes all headers of that name.

    Iterating gives each name once, in lower case; `raw_items` gives everything as it was
    written. Values outside ASCII are ISO-8859-1, which represents any bytes: to read UTF-8,
    ``value.encode("iso-8859-1").decode()``.

    Args:
        headers: another `Headers`, a mapping, or pairs of names and values.
        others: headers whose names are Python identifiers.

    Raises:
        ValueError: a name or a value has characters that HTTP does not allow.
    """

    __slots__ = ("_index", "_items")

    def __init__(self, headers: HeadersLike = (), /, **others: str) -> None:
        # Names as written, values, in order. One list of pairs: a dict of lists would take
        # twice the memory for the headers of a browser.
        self._items: list[tuple[str, str]] = []
        # Values by lower-case name; made by the first look-up, for most headers are never
        # looked up.
        self._index: dict[str, list[str]] | None = None
        self.update(headers, **others)

    @classmethod
    def from_valid_items(cls, items: list[tuple[str, str]]) -> Headers:
        """Make headers of names and values that are known to be valid; keeps the list."""
        headers = cls.__new__(cls)
        headers._items = items
        headers._index = None
        return headers

    def _values(self) -> dict[str, list[str]]:
        index = self._index
        if index is None:
            index = self._index = {}
            for name, value in self._items:
                index.setdefault(name.lower(), []).append(value)
        return index

    def __getitem__(self, name: str) -> str:
        values = self._values()[name.lower()]
        if len(values) > 1:
            raise MultipleValuesError(name)
        return values[0]

    def __setitem__(self, name: str, value: str) -> None:
        known = WELL_KNOWN_NAMES.get(name)
        if known is None and not is_token(name):
            raise ValueError(f"invalid header name: {name!r}; use letters, digits and hyphens only")
        if not is_value(value):
            raise ValueError(
                f"invalid value for header {name}: {value!r}; use printable characters of "
                f"ISO-8859-1 only, without line ends"
            )
        self._items.append((known or name, value))
        if self._index is not None:
            self._index.setdefault(name.lower(), []).append(value)

    def __delitem__(self, name: str) -> None:
        lower = name.lower()
        del self._values()[lower]
        self._items = [item for item in self._items if item[0].lower() != lower]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return self._values() == other._values()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"

    def __str__(self) -> str:
        lines = [f"{name}: {value}\r\n" for name, value in self._items]
        return "".join(lines) + "\r\n"

    def serialize(self) -> bytes:
        """Return the headers as HTTP/1.1 sends them, with the blank line that ends them."""
        return str(self).encode("iso-8859-1")

    def copy(self) -> Headers:
        """Return headers that can be changed without changing these."""
        return self.from_valid_items(self._items.copy())

    def clear(self) -> None:
        """Remove all headers."""
        self._items = []
        self._index = None

    def update(self, headers: HeadersLike = (), /, **others: str) -> None:  # type: ignore[override]
        """Add headers, as with ``headers[name] = value``.

        Args:
            headers: another `Headers`, a mapping, or pairs of names and values.
            others: headers whose names are Python identifiers.

        Raises:
            ValueError: a name or a value has characters that HTTP does not allow.
        """
        if isinstance(headers, Headers):
            # They are valid.
            self._items += headers._items
            self._index = None
            headers = ()
        elif isinstance(headers, Mapping):
            headers = headers.items()
        for name, value in headers:
            self[name] = value
        for name, value in others.items():
            self[name] = value

    def get_all(self, name: str) -> list[str]:
        """Return all values of a header, in order; an empty list if it is missing."""
        return self._values().get(name.lower(), []).copy()

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """Iterate over all headers as names and values, in order, in their own spelling."""
        return iter(self._items)


# What is accepted where headers are wanted.
HeadersLike = Headers | Mapping[str, str] | Iterable[tuple[str, str]]
