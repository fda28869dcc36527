"""Files that hold one grammar: what the end of a name says, and what is read from the text."""

from __future__ import annotations

from typing import Final, Literal

from grammars.spec import Ebnf, GrammarSpec, Lark, Regex

GrammarKind = Literal["regex", "ebnf", "lark"]

KIND_OF_SUFFIX: Final[dict[str, GrammarKind]] = {".regex": "regex", ".gbnf": "ebnf", ".ebnf": "ebnf", ".lark": "lark"}


def read_grammar(kind: GrammarKind, text: str, root: str = "root") -> GrammarSpec:
    """`root` is the rule that EBNF starts from."""
    match kind:
        case "regex":  # editors end a file with a line break, which is no part of the expression
            return Regex(text.removesuffix("\n").removesuffix("\r"))
        case "ebnf":
            return Ebnf(text, root)
        case "lark":
            return Lark(text)
