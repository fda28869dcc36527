"""Regular expressions for the values of `format`, each a subset of what the format's specification allows.

To the drafts `format` is an annotation, so a subset is sound; it is chosen so that common parsers take every value.
"""

from __future__ import annotations

from typing import Final

_LEAP: Final = "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)"
_DATE: Final = (
    "(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP}-02-29)"
)
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"
_LABEL: Final = "[a-z0-9]+(?:-[a-z0-9]+)*"
_DOMAIN: Final = rf"(?:{_LABEL}\.)+[a-z]{{2,12}}"
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
_URI_CHARS: Final = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})"
_URI: Final = rf"https?://{_DOMAIN}(?::[1-9][0-9]{{0,3}})?(?:/{_URI_CHARS}*)*(?:\?{_URI_CHARS}*)?(?:#{_URI_CHARS}*)?"

FORMATS: Final = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": "P(?:[0-9]{1,4}[WD]|[0-9]{1,4}DT[0-9]{1,4}H|T[0-9]{1,4}[HMS]|T[0-9]{1,4}H[0-9]{1,2}M(?:[0-9]{1,2}S)?)",
    "uuid": "[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    "email": rf"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@{_DOMAIN}",
    "hostname": _DOMAIN,
    "ipv4": _IPV4,
    "ipv6": "(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}",
    "uri": _URI,
}
"""By name of the format (JSON Schema Validation 2020-12, section 7.3); the others stay annotations."""
