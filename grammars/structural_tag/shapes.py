"""Regular expressions with documents in them: what a structural tag is, once its notation is taken away.

A *shape* is a text expression, a document, or shapes one after another, one of several, or one repeated. Documents are
JSON and need a stack; all else is regular. So a shape can be written in one way as a *form*: the texts that hold no
document at all, and for every document that may come first, the text up to it and the shape of what follows it. The
text up to a document takes in the bracket or quote that the document begins with, and documents without those (numbers,
`null`, `true`, `false`) count as text. That way whatever is read side by side is one set of byte expressions, and only
the inside of brackets and quotes is read by the phases of a schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

from grammars.byte_forms import EMPTY, NOTHING
from grammars.byte_regex import ByteRegexes
from grammars.structural_tag.fields import unsupported

MOST_COUNTED: Final = 32
"""Rounds of a repeat that are written out, each for itself."""


class Document(NamedTuple):
    """JSON documents by how they begin."""

    plain: int
    """The expression of those without brackets and quotes, with the blanks around them."""
    openings: tuple[tuple[int, int], ...]
    """Expressions up to and including a bracket or quote, each with the tag that tells which."""
    around: int
    """The blanks that may stand behind a document."""


class Opening(NamedTuple):
    """Which document was begun, and with which tag."""

    document: int
    tag: int


class Branch(NamedTuple):
    """A text after which something else is to be read."""

    expr: int
    opening: Opening | None
    """The document that it begins; None for a cut, where the shape behind is read for itself."""
    rest: int
    """The shape behind the document, or behind the cut."""


class Form(NamedTuple):
    """A shape by what comes first."""

    whole: int
    """The expression of the texts without documents or cuts."""
    branches: tuple[Branch, ...]


Words = tuple[tuple[bytes, int], ...]
"""Words, none a prefix of another, and the shape behind each."""


class Text(NamedTuple):
    expr: int


class Hole(NamedTuple):
    document: int


class Pair(NamedTuple):
    first: int
    second: int


class Either(NamedTuple):
    parts: tuple[int, ...]


class Repeated(NamedTuple):
    body: int
    least: int
    most: int
    """-1 for no limit."""


class Cut(NamedTuple):
    """Matches the empty text, and says that it is known there what was read before."""


class Fork(NamedTuple):
    words: Words


Node = Text | Hole | Pair | Either | Repeated | Cut | Fork


class Shapes:
    """Shapes over one arena, numbered; equal ones have the same number. Every one of them matches some text."""

    def __init__(self, arena: ByteRegexes, documents: list[Document]) -> None:
        """`documents` may grow while shapes are made of them."""
        self.arena, self._documents = arena, documents
        self._nodes: list[Node] = []
        self._ids: dict[tuple[type, Node], int] = {}
        self._forms: dict[tuple[int, bool], Form] = {}
        self.nothing_more = self.text(EMPTY)

    def __len__(self) -> int:
        return len(self._nodes)

    def node(self, shape: int) -> Node:
        return self._nodes[shape]

    # ---- shapes

    def text(self, expr: int) -> int:
        return self._made(Text(expr))

    def literal(self, text: str) -> int:
        return self.text(self.arena.literal(text.encode()))

    def document(self, number: int) -> int:
        return self._made(Hole(number))

    def cut(self) -> int:
        return self._made(Cut())

    def sequence(self, *parts: int) -> int:
        made = self.nothing_more
        for part in reversed(parts):
            made = self._pair(part, made)
        return made

    def either(self, *parts: int) -> int:
        kept = tuple(dict.fromkeys(parts))
        if len(kept) == 1:
            return kept[0]
        exprs = [node.expr for node in map(self.node, kept) if isinstance(node, Text)]
        if len(exprs) == len(kept):
            return self.text(self.arena.union(*exprs))
        return self._made(Either(kept))

    def repeated(self, body: int, least: int = 0, most: int = -1) -> int:
        if most == 0:
            return self.nothing_more
        if (least, most) == (1, 1):
            return body
        node = self.node(body)
        if isinstance(node, Text):
            return self.text(self.arena.repeat(node.expr, least, None if most < 0 else most))
        return self._made(Repeated(body, least, most))

    def fork(self, words: Iterable[tuple[bytes, int]]) -> int:
        """One of some words and the shape behind it; equal words are put together."""
        behind: dict[bytes, list[int]] = {}
        for word, shape in words:
            behind.setdefault(word, []).append(shape)
        entries = tuple((word, self.either(*shapes)) for word, shapes in sorted(behind.items()))
        known = [word for word, _ in entries]
        if known[0] and not any(after.startswith(word) for word, after in pairwise(known)):
            return self._made(Fork(entries))
        return self._spelt(entries)

    def head_words(self, shape: int) -> Words | None:
        """If a shape begins with a fork, its words and what follows each up to the end; else None."""
        node = self.node(shape)
        if isinstance(node, Fork):
            return node.words
        if isinstance(node, Pair) and isinstance(fork := self.node(node.first), Fork):
            return tuple((word, self._pair(behind, node.second)) for word, behind in fork.words)
        return None

    def past_cut(self, shape: int) -> int:
        """The shape without the cuts that it begins with."""
        while True:
            node = self.node(shape)
            if isinstance(node, Cut):
                return self.nothing_more
            if not (isinstance(node, Pair) and isinstance(self.node(node.first), Cut)):
                return shape
            shape = node.second

    def _spelt(self, words: Words) -> int:
        return self.either(*(self._pair(self.text(self.arena.literal(word)), behind) for word, behind in words))

    def _pair(self, first: int, second: int) -> int:
        """Two shapes, bracketed to the right; texts that meet are one."""
        chain = [first]
        while isinstance(node := self.node(chain[-1]), Pair):
            chain[-1:] = [node.first, node.second]
        made = second
        for part in reversed(chain):
            made = self._joined(part, made)
        return made

    def _joined(self, part: int, rest: int) -> int:
        if part == self.nothing_more or rest == self.nothing_more:
            return rest if part == self.nothing_more else part
        head, tail = self.node(part), self.node(rest)
        if isinstance(head, Text):
            if isinstance(tail, Text):
                return self.text(self.arena.concat(head.expr, tail.expr))
            if isinstance(tail, Pair) and isinstance(next_text := self.node(tail.first), Text):
                return self._joined(self.text(self.arena.concat(head.expr, next_text.expr)), tail.second)
        return self._made(Pair(part, rest))

    def _made(self, node: Node) -> int:
        made = self._ids.setdefault((type(node), node), len(self._nodes))
        if made == len(self._nodes):
            self._nodes.append(node)
        return made

    # ---- forms

    def form(self, shape: int, *, cuts: bool) -> Form:
        """The form of a shape. Without `cuts` text is read on until a document begins. Raises GrammarError."""
        key = (shape, cuts)
        found = self._forms.get(key)
        if found is None:
            found = self._forms[key] = self._merged(self._form(shape, cuts))
        return found

    def _form(self, shape: int, cuts: bool) -> Form:
        match self.node(shape):
            case Text(expr):
                return Form(expr, ())
            case Hole(number):
                plain, openings, around = self._documents[number]
                behind = self.text(around)
                return Form(plain, tuple(Branch(expr, Opening(number, tag), behind) for expr, tag in openings))
            case Cut():
                return Form(NOTHING, (Branch(EMPTY, None, self.nothing_more),)) if cuts else Form(EMPTY, ())
            case Pair(first, second):
                return self._followed(self.form(first, cuts=cuts), second, cuts)
            case Either(parts):
                forms = [self.form(part, cuts=cuts) for part in parts]
                return Form(self.arena.union(*(form.whole for form in forms)), _all_branches(forms))
            case Fork(words):
                return self.form(self._spelt(words), cuts=cuts)
            case Repeated(body, least, most):
                return self._repeated_form(body, least, most, cuts)

    def _followed(self, form: Form, rest: int, cuts: bool) -> Form:
        branches = tuple(branch._replace(rest=self._pair(branch.rest, rest)) for branch in form.branches)
        if form.whole == NOTHING:
            return Form(NOTHING, branches)
        after = self.form(rest, cuts=cuts)
        return Form(self.arena.concat(form.whole, after.whole), branches + self._behind(form.whole, after.branches))

    def _repeated_form(self, body: int, least: int, most: int, cuts: bool) -> Form:
        arena = self.arena
        whole, branches = self.form(body, cuts=cuts)
        if arena.accepts(whole):
            least, whole = 0, arena.intersection(whole, arena.complement(EMPTY)) if whole != EMPTY else NOTHING
        limit = None if most < 0 else most
        made: list[Branch] = []
        if most < 0 and least == 0:
            again = self.repeated(body)
            made = [branch._replace(rest=self._pair(branch.rest, again)) for branch in branches]
            return Form(arena.repeat(whole), self._behind(arena.repeat(whole), made))
        rounds = 1 if whole == NOTHING else least + 1 if most < 0 else most
        if rounds > MOST_COUNTED:
            raise unsupported(f"a repeat of up to {rounds} rounds, more than {MOST_COUNTED},", "/format")
        for before in range(rounds):
            if most < 0 and before == least:
                lead, left = arena.repeat(whole, least), self.repeated(body)
            else:
                lead = arena.repeat(whole, before, before)
                left = self.repeated(body, max(0, least - before - 1), -1 if most < 0 else most - before - 1)
            made += self._behind(lead, (branch._replace(rest=self._pair(branch.rest, left)) for branch in branches))
        return Form(arena.repeat(whole, least, limit), tuple(made))

    def _behind(self, expr: int, branches: Iterable[Branch]) -> tuple[Branch, ...]:
        return tuple(branch._replace(expr=self.arena.concat(expr, branch.expr)) for branch in branches)

    def _merged(self, form: Form) -> Form:
        """With one branch for what goes on in the same way, and without those that no text leads to."""
        exprs: dict[tuple[Opening | None, int], list[int]] = {}
        for expr, opening, rest in form.branches:
            if self.arena.is_live(expr):
                exprs.setdefault((opening, rest), []).append(expr)
        branches = tuple(Branch(self.arena.union(*some), *key) for key, some in exprs.items())
        return Form(form.whole if self.arena.is_live(form.whole) else NOTHING, branches)


def _all_branches(forms: Iterable[Form]) -> tuple[Branch, ...]:
    return tuple(branch for form in forms for branch in form.branches)
