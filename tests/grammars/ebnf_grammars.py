"""Grammars that several tests share, with texts that they accept and reject, and a reader of texts."""

from __future__ import annotations

from grammars.automaton import DEAD
from grammars.ebnf import gbnf, lark
from grammars.ebnf.automaton import ContextFreeAutomaton
from grammars.ebnf.network import Network

JSON = r"""
root    ::= ws value ws
value   ::= object | array | string | number | "true" | "false" | "null"
object  ::= "{" ws (member ("," ws member)*)? "}"
member  ::= string ws ":" ws value ws
array   ::= "[" ws (value ws ("," ws value ws)*)? "]"
string  ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number  ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
ws      ::= [ \t\n\r]*
"""

ARITHMETIC = r"""
# left-recursive, as grammars of programming languages are written
root   ::= sum
sum    ::= sum ("+" | "-") term | term
term   ::= term ("*" | "/") power
         | power
power  ::= factor "^" power | factor
factor ::= "-" factor | "(" sum ")" | number
number ::= [0-9]+ ("." [0-9]+)?
"""

SQL = r"""
root       ::= query ";"?
query      ::= select (s ("UNION" | "EXCEPT") s query)?
select     ::= "SELECT" s columns s "FROM" s tables (s "WHERE" s condition)? (s "LIMIT" s [1-9] [0-9]{0,3})?
columns    ::= "*" | column ("," o column)*
column     ::= expression (s "AS" s name)?
tables     ::= table | tables "," o table | tables s ("LEFT" s)? "JOIN" s table s "ON" s condition
table      ::= name (s name)? | "(" query ")" s name
condition  ::= condition s "OR" s conjunct | conjunct
conjunct   ::= conjunct s "AND" s test | test
test       ::= "NOT" s test | expression o ("=" | "<>" | "<" | ">") o expression
             | expression s "IN" s "(" (query | values) ")" | "(" condition ")"
values     ::= expression ("," o expression)*
expression ::= expression o [-+*/] o primary | primary
primary    ::= "(" expression ")" | name "(" (values | "*")? ")" | name ("." name)? | number | string
name       ::= [a-z_] [a-z0-9_]{0,15}
number     ::= [0-9]{1,9} ("." [0-9]{1,4})?
string     ::= "'" ([^'] | "''")* "'"
s          ::= " "
o          ::= " "?
"""

C_EXPRESSION = r"""
root           ::= comma
comma          ::= comma ("," _ assignment) | assignment
assignment     ::= conditional | unary _ ("=" | "+=" | "-=" | "*=" | "<<=" | ">>=") _ assignment
conditional    ::= or (_ "?" _ comma _ ":" _ conditional)?
or             ::= or _ "||" _ and | and
and            ::= and _ "&&" _ bitor | bitor
bitor          ::= bitor _ "|" _ bitxor | bitxor
bitxor         ::= bitxor _ "^" _ bitand | bitand
bitand         ::= bitand _ "&" _ equality | equality
equality       ::= equality _ ("==" | "!=") _ relational | relational
relational     ::= relational _ ("<" | ">" | "<=" | ">=") _ shift | shift
shift          ::= shift _ ("<<" | ">>") _ additive | additive
additive       ::= additive _ ("+" | "-") _ multiplicative | multiplicative
multiplicative ::= multiplicative _ ("*" | "/" | "%") _ cast | cast
cast           ::= "(" type ")" _ cast | unary
type           ::= ("unsigned ")? ("int" | "char" | "long") " "? "*"*
unary          ::= postfix | ("++" | "--") unary | [-+!~*&] _ cast | "sizeof" ("(" type ")" | " " unary)
postfix        ::= postfix ("[" comma "]" | "(" arguments? ")" | ("." | "->") identifier | "++" | "--") | primary
arguments      ::= assignment ("," _ assignment)*
primary        ::= identifier | [0-9]+ | "0x" [0-9a-fA-F]+ | "'" ([^'\\\n] | "\\" [nt'\\0]) "'" | "(" comma ")"
identifier     ::= [a-zA-Z_] [a-zA-Z0-9_]*
_              ::= " "?
"""

JSON_LARK = r"""
?start: value
?value: object | array | ESCAPED | NUMBER -> number | "true" | "false" | "null"
array: "[" [value ("," value)*] "]"
object: "{" [pair ("," pair)*] "}"
pair: ESCAPED ":" value
ESCAPED: "\"" (/[^"\\\x00-\x1f]/ | "\\" (/["\\\/bfnrt]/ | "u" HEXDIGIT~4))* "\""
NUMBER: "-"? ("0" | "1".."9" DIGIT*) ["." DIGIT+] [("e" | "E") ["+" | "-"] DIGIT+]
SPACE: /[ \t\n\r]/+
%import common (DIGIT, HEXDIGIT)
%ignore SPACE
"""

ARITHMETIC_LARK = r"""
start: sum
?sum: sum ("+" | "-") term -> binary
    | term
?term: term ("*" | "/") power
     | power
!power.2: factor "^" power | factor   // right-associative
factor: "-" factor | "(" sum ")" | NUMBER
NUMBER: /\d+(\.\d+)?/
"""

_NESTED = "[" * 120 + "{}" + "]" * 120

TABLES: dict[str, tuple[str, list[str], list[str]]] = {
    "JSON": (
        JSON,
        [
            "{}",
            "[]",
            " null\n",
            '"\\u00e9é日\\""',
            "-0.5e+10",
            '{"a" : [1, {"b": [true,false ]} ] }',
            "[[],{}]",
            _NESTED,
        ],
        [
            "",
            "{",
            "[1,]",
            "01",
            "+1",
            "1.",
            '"\n"',
            '"\\x"',
            '{"a"}',
            "{a:1}",
            "tru",
            "[1 2]",
            "nullnull",
            _NESTED[:-1],
        ],
    ),
    "arithmetic": (
        ARITHMETIC,
        [
            "1",
            "1+2*3",
            "1-2-3-4",
            "2^3^4",
            "--1",
            "-(1.5)",
            "((1))*(2/3)",
            "+".join("123456789"),
            "(" * 99 + "0" + ")" * 99,
        ],
        ["", "1+", "+1", "1.", ".5", "()", "(1", "1)", "1++1", "1 + 1", "2^^3", "1-2-"],
    ),
    "SQL": (
        SQL,
        [
            "SELECT * FROM t",
            "SELECT a, b.c AS d FROM t x, u;",
            "SELECT count(*) FROM t LEFT JOIN u ON t.a = u.b WHERE a+1*2<>3 AND NOT b < 'it''s' OR (c=d)",
            "SELECT f(a, 1) FROM (SELECT * FROM t) q WHERE x IN (1, 2) LIMIT 20",
            "SELECT a FROM t UNION SELECT b FROM u EXCEPT SELECT c FROM v",
            "SELECT a FROM t WHERE a IN (SELECT b FROM u WHERE b=(1))",
        ],
        [
            "",
            "SELECT",
            "SELECT * FROM",
            "SELECT a b FROM t",
            "SELECT * FROM t WHERE",
            "SELECT * FROM t WHERE a",
            "SELECT * FROM t LIMIT 0",
            "SELECT * FROM t LIMIT 12345",
            "SELECT * FROM (SELECT * FROM t)",
            "SELECT * FROM t WHERE a = 'it's'",
            "select * from t",
            "SELECT *, a FROM t",
            "SELECT abcdefghijklmnopq FROM t",
        ],
    ),
    "C expressions": (
        C_EXPRESSION,
        [
            "a",
            "a = b += c",
            "x ? y : z ? 1 : 2",
            "*p++ = f(a, b)[i]->next",
            "(int)x << 2 & ~0xfF",
            "sizeof(unsigned int *)",
            "sizeof x + (char **)y",
            "a<b == c>d && !e || f",
            "(a, b)",
            "'\\n' + '0'",
            "- -a - --b",
            "((((x))))",
        ],
        [
            "",
            "a b",
            "a =",
            "= a",
            "a ? b",
            "f(,)",
            "a..b",
            "(a",
            "a)",
            "1 = ",
            "[a]",
            "a[ ]",
            "''",
            "0xg",
            "a ? : b",
            "a &&& b)",
        ],
    ),
}
"""A grammar in GBNF, texts in its language, texts that are not."""


def from_gbnf(text: str, root: str = "root") -> ContextFreeAutomaton:
    return ContextFreeAutomaton(Network(gbnf.parse(text, root)))


def from_lark(text: str) -> ContextFreeAutomaton:
    return ContextFreeAutomaton(Network(lark.parse(text)))


def reached(automaton: ContextFreeAutomaton, text: bytes, state: int | None = None) -> int:
    """The state after a text, from the start or another state."""
    state = automaton.start() if state is None else state
    for byte in text:
        state = automaton.step(state, byte)
        if state == DEAD:
            break
    return state


def accepts(automaton: ContextFreeAutomaton, text: str | bytes) -> bool:
    return automaton.accepts(reached(automaton, text.encode() if isinstance(text, str) else text))
