"""What the native engine does with each keyword of the drafts, as a table."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from grammars.json_schema.formats import FORMATS, INTEGER_FORMATS
from grammars.json_schema.metaschema import Draft, shapes

Level = Literal["exact", "conditional", "annotation"]
"""`exact`: what the keyword rejects is never generated. `conditional`: neither, where the condition holds; else the
keyword is refused, save for `format`. `annotation`: it rejects nothing by itself."""


class Support(NamedTuple):
    level: Level
    condition: str = ""
    """Where the keyword is enforced; of an annotation, what it must be all the same."""


_EXACT: Final = Support("exact")
_ANNOTATION: Final = Support("annotation")
_WITHIN: Final = Support(
    "conditional", "it leads to a subschema of this schema or to a draft's metaschema: nothing is fetched"
)
_REGULAR: Final = "no back-reference, look-behind, word boundary or other construct beyond regular languages"
_CASES: Final = Support("conditional", "the applicators beside it combine in at most 256 ways")


def _each(support: Support, keywords: str) -> dict[str, Support]:
    return dict.fromkeys(keywords.split(), support)


SUPPORT: Final[dict[str, Support]] = {
    **_each(_EXACT, "type enum const"),
    **_each(_EXACT, "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf"),
    **_each(_EXACT, "minLength maxLength"),
    "pattern": Support("conditional", f"it has {_REGULAR}"),
    "format": Support(
        "conditional", f"it is one of {', '.join((*FORMATS, *INTEGER_FORMATS))}; any other is an annotation"
    ),
    **_each(_EXACT, "items prefixItems additionalItems minItems maxItems contains minContains maxContains"),
    "uniqueItems": Support(
        "conditional",
        "the items may be strings, or values of which there are few (by `enum` or so), and no array must have an item "
        "twice, as `not`, `if` or `oneOf` may ask",
    ),
    "unevaluatedItems": _CASES,
    **_each(_EXACT, "properties required additionalProperties propertyNames minProperties maxProperties"),
    "patternProperties": Support("conditional", f"each pattern has {_REGULAR}, and they overlap in at most 256 ways"),
    **_each(_EXACT, "dependencies dependentRequired dependentSchemas"),
    "unevaluatedProperties": _CASES,
    **_each(_EXACT, "allOf anyOf oneOf not if then else"),
    **_each(_WITHIN, "$ref $dynamicRef $recursiveRef"),
    "$schema": Support("annotation", "it must name a draft from 4 to 2020-12"),
    **_each(_ANNOTATION, "$id id $anchor $dynamicAnchor $recursiveAnchor $vocabulary $defs definitions $comment"),
    **_each(_ANNOTATION, "title description default examples deprecated readOnly writeOnly"),
    **_each(_ANNOTATION, "contentMediaType contentEncoding contentSchema"),
}
"""By keyword of any draft from 4 on."""

ANNOTATIONS: Final = frozenset(keyword for keyword, support in SUPPORT.items() if support.level == "annotation")

_UNSHAPED: Final[dict[str, tuple[Draft, ...]]] = {
    "const": ("6", "7", "2019-09", "2020-12"),
    "default": get_args(Draft),
}
"""Keywords of which any value is right, so that no table of shapes has them."""


def drafts_of(keyword: str) -> tuple[Draft, ...]:
    """The drafts, from the oldest, that read a keyword of `SUPPORT`."""
    drafts: tuple[Draft, ...] = get_args(Draft)
    return _UNSHAPED.get(keyword) or tuple(draft for draft in drafts if keyword in shapes(draft))
