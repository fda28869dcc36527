"""The values of `format` (JSON Schema validation 2020-12, section 7.3) as regular expressions."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from grammars.regex_language import read_pattern
from grammars.regex_syntax import Node

_LEAP: Final = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE: Final = (
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP}-02-29)"
)
_OFFSET: Final = "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_TIME: Final = rf"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?{_OFFSET}"
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME: Final = rf"{_LABEL}(?:\.{_LABEL})*"
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
_HEX: Final = "[0-9A-Fa-f]{1,4}"
_TAIL: Final = f"(?:{_HEX}:{_HEX}|{_IPV4})"
_IPV6: Final = "|".join(
    [
        f"(?:{_HEX}:){{6}}{_TAIL}",
        f"::(?:{_HEX}:){{5}}{_TAIL}",
        f"(?:{_HEX})?::(?:{_HEX}:){{4}}{_TAIL}",
        f"(?:(?:{_HEX}:){{0,1}}{_HEX})?::(?:{_HEX}:){{3}}{_TAIL}",
        f"(?:(?:{_HEX}:){{0,2}}{_HEX})?::(?:{_HEX}:){{2}}{_TAIL}",
        f"(?:(?:{_HEX}:){{0,3}}{_HEX})?::{_HEX}:{_TAIL}",
        f"(?:(?:{_HEX}:){{0,4}}{_HEX})?::{_TAIL}",
        f"(?:(?:{_HEX}:){{0,5}}{_HEX})?::{_HEX}",
        f"(?:(?:{_HEX}:){{0,6}}{_HEX})?::",
    ]
)
_ATOM: Final = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_QUOTED: Final = r'"(?:[\x20\x21\x23-\x5B\x5D-\x7E]|\\[\x20-\x7E])*"'
_LOCAL: Final = rf"(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED})"
_EMAIL: Final = rf"{_LOCAL}@(?:{_HOSTNAME}|\[(?:{_IPV4}|IPv6:(?:{_IPV6}))\])"
_UNRESERVED: Final = r"A-Za-z0-9._~\-"
_SUB: Final = "!$&'()*+,;="
_PERCENT: Final = "%[0-9A-Fa-f]{2}"


def _uri(extra: str, *, reference: bool) -> str:
    """RFC 3986, appendix A; `extra` are the characters that RFC 3987 adds to the unreserved ones."""
    pchar = f"(?:[{_UNRESERVED}{extra}{_SUB}:@]|{_PERCENT})"
    no_colon = f"(?:[{_UNRESERVED}{extra}{_SUB}@]|{_PERCENT})"
    host = rf"(?:\[(?:{_IPV6}|v[0-9A-Fa-f]+\.[{_UNRESERVED}{_SUB}:]+)\]|(?:[{_UNRESERVED}{extra}{_SUB}]|{_PERCENT})*)"
    authority = f"(?:(?:[{_UNRESERVED}{extra}{_SUB}:]|{_PERCENT})*@)?{host}(?::[0-9]*)?"
    absolute = f"/(?:{pchar}+(?:/{pchar}*)*)?"
    hier = f"(?://{authority}(?:/{pchar}*)*|{absolute}|{pchar}+(?:/{pchar}*)*)?"
    relative = f"(?://{authority}(?:/{pchar}*)*|{absolute}|{no_colon}+(?:/{pchar}*)*)?"
    tail = rf"(?:\?(?:{pchar}|[/?])*)?(?:#(?:{pchar}|[/?])*)?"
    whole = f"[A-Za-z][A-Za-z0-9+.-]*:{hier}{tail}"
    return f"(?:{whole}|{relative}{tail})" if reference else whole


_UCS: Final = "\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef\U00010000-\U000efffd"
_BEYOND_ASCII: Final = "\u0080-\U0010ffff"
_TEMPLATE_NAME: Final = rf"(?:[A-Za-z0-9_]|{_PERCENT})+(?:\.?(?:[A-Za-z0-9_]|{_PERCENT}))*(?::[1-9][0-9]{{0,3}}|\*)?"
_DURATION_TIME: Final = "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_DURATION_DATE: Final = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"


def _template() -> str:
    """RFC 6570, section 2, without the operators that it reserves."""
    literal = rf"(?:[!#$&(-;=?-\[\]_a-z~{_UCS}]|{_PERCENT})"
    expression = rf"\{{[+#./;?&]?{_TEMPLATE_NAME}(?:,{_TEMPLATE_NAME})*\}}"
    return f"(?:{literal}|{expression})*"


def _regex(depth: int) -> str:
    """Regular expressions that ECMA-262 and Python's `re` both read, with groups up to a depth."""
    escape = r"\\(?:[dDwWsSnrtfv^$.|?*+()\[\]{}/\\-]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
    ordered = "|".join(
        f"{re.escape(chr(low))}-[{re.escape(chr(low))}-{re.escape(last)}]"
        for first, last in ("09", "AZ", "az")
        for low in range(ord(first), ord(last) + 1)
    )
    member = rf"(?:{escape}|{ordered}|[^\\\]\[-])"
    group = rf"\[\^?-?{member}+-?\]"
    counts = "|".join(f"{low},(?:[{low}-9]|[1-9][0-9]{{1,3}})" for low in range(10))
    quantifier = rf"(?:(?:[*+?]|\{{(?:[0-9]{{1,4}},?|{counts})\}})\??)?"
    literal = r"[^\\^$.|?*+()\[\]{}]"
    inner = ""
    for _ in range(depth):
        atom = rf"(?:{literal}|\.|{escape}|{group}" + (rf"|\((?:\?:)?{inner}\))" if inner else ")")
        ahead = rf"|\(\?[=!]{inner}\)" if inner else ""
        inner = rf"(?:{atom}{quantifier}|[\^$|]|\\[bB]{ahead})*"
    return inner


_FOUR: Final = "[A-Za-z0-9+/]{4}"
_LAST: Final = "(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)"
_BASE64: Final = f"(?:{_FOUR})*{_LAST}?"
"""RFC 4648, section 4, with the bits that the padding leaves over unset."""
_END: Final = r"\r?\n"
_PEM: Final = rf"-----BEGIN [A-Z0-9 ]+-----{_END}(?:[A-Za-z0-9+/=]+{_END})*-----END [A-Z0-9 ]+-----(?:{_END})?"
_BYTES: Final = rf"(?:{_FOUR}(?:{_END})?)*(?:{_LAST}(?:{_END})?)?|{_PEM}"
"""OpenAPI's: base64, in lines as in MIME (RFC 2045, section 6.8), or between the labels of PEM (RFC 7468)."""

FORMATS: Final = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}[Tt]{_TIME}",
    "duration": f"P(?:{_DURATION_DATE}(?:{_DURATION_TIME})?|{_DURATION_TIME}|[0-9]+W)",
    "uuid": "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}",
    "email": _EMAIL,
    "hostname": _HOSTNAME,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "uri": _uri("", reference=False),
    "uri-reference": _uri("", reference=True),
    "iri": _uri(_UCS, reference=False),
    "iri-reference": _uri(_UCS, reference=True),
    "uri-template": _template(),
    "idn-email": _EMAIL.replace("A-Za-z0-9!#", f"A-Za-z0-9{_BEYOND_ASCII}!#").replace(
        "[A-Za-z0-9]", f"[A-Za-z0-9{_UCS}]"
    ),
    "regex": _regex(4),
    "json-pointer": "(?:/(?:[^~/]|~[01])*)*",
    "relative-json-pointer": "(?:0|[1-9][0-9]*)(?:#|(?:/(?:[^~/]|~[01])*)*)",
    "byte": _BYTES,
    "base64": _BASE64,
}
"""By name of the format; the others stay annotations. Each is a subset of what its specification allows."""

EXAMPLES: Final = {
    "date": "2024-02-29",
    "time": "23:59:60Z",
    "date-time": "2024-02-29T12:30:00.5+01:00",
    "duration": "P1Y2M3DT4H5M6S",
    "uuid": "123e4567-e89b-12d3-a456-426655440000",
    "email": "ada.l@mail-1.example.org",
    "hostname": "host-1.example.org",
    "ipv4": "192.168.0.1",
    "ipv6": "1:ab::192.168.0.1",
    "uri": "https://ada:x@example.org:80/a/%20b?c=1#d",
    "uri-reference": "a/b?c#d",
    "iri": "https://ada:x@example.org:80/a/%20b?c=1#d",
    "iri-reference": "a/b?c#d",
    "uri-template": "http://example.org/{+a,b*}/c",
    "idn-email": "ada.l@mail-1.example.org",
    "regex": "^[a-z]+([0-9](_[A-Z])?){2,3}$",
    "json-pointer": "/a/b~0/0",
    "relative-json-pointer": "1/a",
    "byte": "QUJDRA==",
    "base64": "QUJDRA==",
}
"""A text of each format, by which an engine reads it before anybody asks for it."""

MOST_CHARS: Final = {"hostname": 253}
"""Characters of the longest texts of a format, where its expression matches longer ones (RFC 1035, section 2.3.4)."""


@cache
def format_tree(name: str) -> Node:
    """What `read_pattern` makes of a format."""
    return read_pattern(FORMATS[name])


INTEGER_FORMATS: Final = {"int32": 31, "int64": 63}
"""Formats of OpenAPI's registry for numbers: whole, and of so many bits beside the sign."""
