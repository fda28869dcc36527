"""A JSON Schema as the phases of a machine (`grammars.machine.Phases`).

JSON text is a visibly pushdown language: brackets alone push and pop. A phase is a place in JSON's syntax with the
containers that are open around it; each of these is a frame with its threads, and what they do with the value inside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grammars.automaton import DEAD
from grammars.fuel import FuelError
from grammars.json_schema.arrays import ArrayFrame, is_unique
from grammars.json_schema.formula import Formula, Kind
from grammars.json_schema.inhabitants import Inhabited
from grammars.json_schema.objects import Edge, Key, KeyClass, ObjectFrame, Place, Universe
from grammars.json_schema.syntax import (
    ANY_NAME,
    CLOSE,
    FIRST_NUMBER,
    FIRST_TEXT,
    KINDS_BY_TAG,
    OPEN_ARRAY,
    OPEN_OBJECT,
    OPEN_STRING,
    Syntax,
    Turn,
)
from grammars.json_schema.texts import (
    ANY,
    Counted,
    Length,
    Matching,
    TextAlgebra,
    Texts,
    Words,
    alternatives,
    is_counted,
)
from grammars.json_schema.values import Values
from grammars.json_strings import is_plain, spelling
from grammars.lexicon import Reading
from grammars.machine import Phase
from grammars.words import ALL_WORDS, NO_NODE, WordTries

_ROOT: Final = 0
_MOST_ASKED: Final = 4
_MOST_COUNTED_APART: Final = 8
_MOST_CHARS: Final = 1 << 29
"""What stands for no bound where others are bounded; no text that is generated has as many characters."""
_MOST_PREPARED: Final = 128
_FUEL_TO_PREPARE: Final = 20_000


class Level(NamedTuple):
    """An open container around a value: what is behind it, what the formulas are that its threads ask of the value, and
    which threads are left if one of these holds."""

    outer: int
    """The number of the level around it, 0 for none."""
    frame: ObjectFrame | ArrayFrame
    place: Place | None
    """Of an object, once the value is read."""
    edges: tuple[tuple[int, Edge], ...]
    """By which of the value's formulas they ask for."""


class AtValue(NamedTuple):
    """A value is to be read."""

    level: int
    formulas: tuple[Formula, ...]
    turn: Turn


class InText(NamedTuple):
    """The inside of a string that is a value."""

    level: int
    formulas: tuple[Formula, ...]


class InName(NamedTuple):
    """The inside of a key."""

    level: int
    frame: ObjectFrame


class BehindBrace(NamedTuple):
    """Behind the bracket of an object."""

    level: int
    frame: ObjectFrame


class Between(NamedTuple):
    """Behind a member or an item, or behind the bracket of an array: a comma may follow, or the closing bracket."""

    level: int
    frame: ObjectFrame | ArrayFrame
    turn: Turn


class AtEnd(NamedTuple):
    """Behind the document."""


Position = AtValue | InText | InName | BehindBrace | Between | AtEnd
LabelledWords = tuple[tuple[bytes, int], ...]
"""Sorted."""
_Bounds = tuple[Texts, int, int | None]
"""A language, and the fewest and the most characters that its texts have."""


class JsonPhases:
    """The phases of one schema."""

    def __init__(self, values: Values, inhabited: Inhabited, syntax: Syntax, words: WordTries) -> None:
        self._values, self._inhabited, self._syntax, self._words = values, inhabited, syntax, words
        self._objects, self._arrays = inhabited.objects, inhabited.arrays
        self._numbers: dict[tuple[type, Position], int] = {}
        self._places: list[Position] = []
        self._phases: list[Phase] = []
        self._level_ids: dict[Level, int] = {}
        self._levels: list[Level | None] = [None]
        self._depths = [0]
        self._universe_roots: dict[Universe, int] = {}
        self._tries: dict[LabelledWords, tuple[int, int]] = {}
        """Root and running totals."""
        self._whole: LabelledWords = ()
        """The words of the trie made last for values."""
        self._asked: dict[int, tuple[InText, dict[Texts, list[int]]]] = {}
        """What `_asked_texts` has found last, by the `id` of the place."""
        self._rests: dict[int, int] = {}
        """By phase, the tag of the language of all strings but those of the others, if there is one."""
        self._apart = set[int]()
        """The phases in which languages are told apart by their tags and by how long a string is, too."""
        self._label_ids: dict[tuple[Texts, ...], int] = {}
        self._labels: list[tuple[Texts, ...]] = []
        """By label of a string, the languages that have it, whichever are asked for beside them."""

    def first(self) -> Phase:
        root = self._values.reader.root
        return self._phase(AtValue(_ROOT, (root,), Turn.FIRST))

    def prepare(self) -> None:
        """Builds the rows of strings and keys that several patterns tell apart, as far as they may be many.

        From any place in such a text dozens are within a token's reach, each a product of what is left of the patterns:
        better while a schema is compiled than while others wait for a mask.
        """
        arena, lexicon, left = self._values.arena, self._syntax.lexicon, _MOST_PREPARED
        fuel, arena.fuel = arena.fuel, min(arena.fuel, _FUEL_TO_PREPARE)
        kept = fuel - arena.fuel
        try:
            lexemes = chain.from_iterable(map(self._told_apart, self._values.reader.of_several_patterns))
            while left and (lexeme := next(lexemes, DEAD)) != DEAD:
                left -= lexicon.build_reachable(lexeme, left)
        except FuelError:
            pass  # they are built when they are needed
        finally:
            arena.fuel += kept

    def _told_apart(self, schema: Formula) -> Iterator[int]:
        """The lexemes of a schema's strings, and of the keys of its objects."""
        if isinstance(texts := self._values.texts(schema), Matching):
            yield self._text_phase(0, [texts], is_distinct=False).lexeme
        frame = self._objects.opened([(0, schema)])
        if frame is not None and self._objects.others(frame):
            yield self._name_phase(0, frame).lexeme

    def follow(self, phase: int, tags: int, label: int) -> Phase | None:
        ended = self._syntax.lexicon.tag_sets[tags]
        match self._places[phase]:
            case AtValue(level, formulas, _):
                return self._after_value_start(level, formulas, ended)
            case InText() as place:
                if phase in self._apart:
                    return self._after_counted(place, ended, label)
                if len(ended) > 1 and phase in self._rests:
                    ended = tuple(tag for tag in ended if tag != self._rests[phase])
                return self._after_text(place, ended, label)
            case InName(level, frame):
                return self._after_name(level, frame, ended, label)
            case BehindBrace(level, frame):
                return self._closed(level, frame) if ended == (CLOSE,) else self._phase(InName(level, frame))
            case Between(level, frame, _) if ended == (CLOSE,):
                return self._closed(level, frame)
            case Between(level, ObjectFrame() as frame, _):
                return self._phase(InName(level, frame))
            case Between(level, ArrayFrame() as frame, _):
                level, formulas = self._item(level, frame)
                return self._after_value_start(level, formulas, ended)
            case _:
                return None

    def repeated(self, phase: int) -> Phase | None:
        match self._places[phase]:
            case Between(level, ArrayFrame() as frame, turn):
                left = self._arrays.repeated(frame)
                return None if left is None else self._phase(Between(level, left, turn))
        return None

    def phase(self, number: int) -> Phase:
        """One that was met."""
        return self._phases[number]

    def position(self, phase: int) -> Position:
        """Where in a document a phase is."""
        return self._places[phase]

    def level(self, number: int) -> Level | None:
        """None for the document itself."""
        return self._levels[number]

    def level_depth(self, number: int) -> int:
        """How many containers are open around a value of a level."""
        return self._depths[number]

    # ---- what is read in a phase

    def _phase(self, place: Position) -> Phase:
        key = (type(place), place)  # tuples of two types are equal where their contents are
        number = self._numbers.get(key)
        if number is None:
            made = self._read(place, len(self._places))._replace(depth=self._depth(place))
            number = self._numbers[key] = len(self._places)
            self._places.append(place)
            self._phases.append(made)
        return self._phases[number]

    def _depth(self, place: Position) -> int:
        """How many containers are open."""
        match place:
            case InName() | BehindBrace() | Between():
                return self._depths[place.level] + 1
            case AtValue() | InText():
                return self._depths[place.level]
        return 0

    def _read(self, place: Position, number: int) -> Phase:
        syntax = self._syntax
        match place:
            case AtValue(level, formulas, turn):
                lexeme = syntax.lexicon.lexeme(self._value_readings(formulas, turn))
                return Phase(number, lexeme, may_end=level == _ROOT)
            case InText(level):
                is_distinct = self._is_distinct(level)
                asked = list(self._asked_texts(place))
                if not is_distinct and all(isinstance(texts, Words) for texts in asked):
                    root, totals = self._root(self._word_labels(asked))
                    return Phase(number, root=root, totals=totals)
                may_repeat = is_distinct and self._may_repeat(level)
                return self._text_phase(number, asked, is_distinct)._replace(may_repeat=may_repeat)
            case InName(level, frame):
                return self._name_phase(number, frame)
            case BehindBrace(_, frame):
                may_name = bool(self._objects.named(frame) or self._objects.others(frame))
                return Phase(number, syntax.opened(may_name=may_name, may_close=bool(self._objects.accepted(frame))))
            case Between(_, ObjectFrame() as frame, turn):
                may_name = bool(self._objects.named(frame) or self._objects.others(frame))
                may_close = bool(self._objects.accepted(frame))
                return Phase(number, syntax.between_members(may_name=may_name, may_close=may_close))
            case Between(level, items, turn):
                assert isinstance(items, ArrayFrame)
                formulas = self._item(level, items)[1]
                readings = syntax.close(turn) if self._arrays.accepted(items) else ()
                if formulas:
                    readings += self._value_readings(formulas, turn)
                return Phase(number, syntax.lexicon.lexeme(readings))
            case AtEnd():
                return Phase(number, syntax.end, may_end=True)

    def _value_readings(self, formulas: tuple[Formula, ...], turn: Turn) -> tuple[Reading, ...]:
        """What a value may begin with, or for a number all of it."""
        kinds = 0
        numbers: list[tuple[int, int]] = []
        for i, formula in enumerate(formulas):
            found = self._inhabited.kinds(formula)
            kinds |= found
            if found & Kind.NUMBER:
                numbers.append((self._values.numbers(formula), FIRST_NUMBER + i))
        return self._syntax.value(kinds, tuple(numbers), turn)

    def _is_distinct(self, level: int) -> bool:
        """Whether a string must differ from those before it, and is spelt in one way therefore."""
        around = self._levels[level]
        frame = None if around is None else around.frame
        return isinstance(frame, ArrayFrame) and self._arrays.is_distinct(frame)

    def _may_repeat(self, level: int) -> bool:
        """Whether the array around a string would do with one that it has had."""
        around = self._levels[level]
        return around is not None and any(not is_unique(edge.thread) for _, edge in around.edges)

    def _asked_texts(self, place: InText) -> dict[Texts, list[int]]:
        """The languages that are asked for, each with the formulas that ask for it; a tag stands for one of them."""
        known = self._asked.pop(id(place), None)
        if known is None:
            known = place, self._find_asked(place)
            if len(self._asked) == _MOST_ASKED:
                del self._asked[next(iter(self._asked))]
        self._asked[id(place)] = known
        return known[1]

    def _find_asked(self, place: InText) -> dict[Texts, list[int]]:
        is_distinct = self._is_distinct(place.level)
        algebra = self._values.key_algebra if is_distinct else self._values.text_algebra
        asked = dict[Texts, list[int]]()
        for i, formula in enumerate(place.formulas):
            texts = algebra.listed(self._values.names(formula)) if is_distinct else self._values.texts(formula)
            for part in alternatives(texts):
                if not algebra.is_empty(part):
                    asked.setdefault(part, []).append(i)
        return asked

    def _text_phase(self, number: int, asked: list[Texts], is_distinct: bool) -> Phase:
        bound = asked[0]
        if len(asked) == 1 and isinstance(bound, Length):
            lexeme = self._syntax.any_name if is_distinct else self._syntax.any_text
            most = -1 if bound.most is None else bound.most
            return Phase(number, lexeme, least=bound.least, most=most, is_distinct=is_distinct)
        if not is_distinct and (lengths := self._lengths(asked)):
            mosts = [each.most for each in asked if isinstance(each, Length)]
            most = -1 if None in mosts else max(each for each in mosts if each is not None)
            return Phase(number, self._syntax.any_text, least=lengths[0][0], most=most, lengths=lengths)
        algebra = self._values.key_algebra if is_distinct else self._values.text_algebra
        if len(asked) == 1 and isinstance(bound, Counted) and not is_distinct:
            lexeme = self._syntax.counted(algebra.uncounted(bound))
            return Phase(number, lexeme, least=bound.least, most=bound.most)
        if not is_distinct and any(map(is_counted, asked)) and (phase := self._counted_apart(number, asked)):
            return phase
        readings = [(algebra.expr(texts), FIRST_TEXT + i) for i, texts in enumerate(asked)]
        if is_distinct or (found := _guarding(asked, algebra)) is None:
            return Phase(number, self._syntax.texts(readings), is_distinct=is_distinct)
        index, guard = found
        _, tag = readings.pop(index)
        if asked[index] != ANY:
            self._rests[number] = tag
        return Phase(number, self._syntax.told(readings, (guard, tag)))

    def _counted_apart(self, number: int, asked: list[Texts]) -> Phase | None:
        """Languages told apart by what they match and by how long a text is; None where that is hard to count."""
        if len(asked) > _MOST_COUNTED_APART:
            return None
        bounds, exprs = list[_Bounds](), list[int]()
        for texts in asked:
            found = self._values.text_algebra.countable(texts)
            if found is None:
                return None
            exprs.append(found[0])
            bounds.append((texts, found[1], found[2]))
        mosts = [_MOST_CHARS if most is None else most for _, _, most in bounds]
        languages = [(expr, FIRST_TEXT + i, max(mosts) - mosts[i]) for i, expr in enumerate(exprs)]
        lengths = self._labels_by_length(bounds)
        self._apart.add(number)
        lexeme = self._syntax.counted_apart(languages)
        return Phase(number, lexeme, least=lengths[0][0], most=max(mosts), lengths=lengths)

    def _lengths(self, asked: list[Texts]) -> tuple[tuple[int, int], ...]:
        """`Phase.lengths` of languages that are told apart by the number of characters only; empty for others."""
        bounds: list[_Bounds] = [(each, each.least, each.most) for each in asked if isinstance(each, Length)]
        return self._labels_by_length(bounds) if len(bounds) == len(asked) else ()

    def _labels_by_length(self, bounds: list[_Bounds]) -> tuple[tuple[int, int], ...]:
        """`Phase.lengths` of some languages."""
        ends = {most + 1 for _, _, most in bounds if most is not None}
        found = list[tuple[int, int]]()
        for length in sorted({least for _, least, _ in bounds} | ends):
            having = [each for each, least, most in bounds if least <= length and (most is None or length <= most)]
            found.append((length, self._label(tuple(having)) if having else -1))
        return tuple(found if found[-1][1] >= 0 else found[:-1])

    def _word_labels(self, asked: list[Texts]) -> list[tuple[bytes, int]]:
        """The words that are asked for, each labelled with the languages that have it."""
        admitting: dict[str, list[Texts]] = {}
        for texts in asked:
            assert isinstance(texts, Words)
            for word in texts.words:
                admitting.setdefault(word, []).append(texts)
        if len(asked) == 1:
            labels = dict.fromkeys(admitting, self._label((asked[0],)))
        else:
            labels = {word: self._label(tuple(which)) for word, which in admitting.items()}
        if is_plain("".join(labels)):  # as most enums are
            return [(word.encode() + b'"', label) for word, label in labels.items()]
        spellings = self._values.key_algebra.spellings
        return [(form + b'"', label) for word, label in labels.items() for form in spellings(word)]

    def _label(self, languages: tuple[Texts, ...]) -> int:
        made = self._label_ids.setdefault(languages, len(self._labels))
        if made == len(self._labels):
            self._labels.append(languages)
        return made

    def _root(self, words: list[tuple[bytes, int]]) -> tuple[int, int]:
        """A trie that has some labelled words, and the running totals that allow no others in it.

        Of items that must differ each rules out a word for the next: they share the trie of the first, where it has not
        many more.
        """
        key = tuple(sorted(words))
        found = self._tries.get(key)
        if found is None:
            wanted = set(key)
            if 2 * len(key) > len(self._whole) and wanted <= set(self._whole):
                root, _ = self._tries[self._whole]
                found = root, self._words.allow_words(root, np.array([word in wanted for word in self._whole]))
            else:
                found, self._whole = (self._words.add(key, self._objects.spend), ALL_WORDS), key
            self._tries[key] = found
        return found

    def _name_phase(self, number: int, frame: ObjectFrame) -> Phase:
        universe = frame.universe
        named, others = self._objects.named(frame), self._objects.others(frame)
        root = self._names(universe)
        if others.get(frozenset()) == ANY:  # whatever named key has begun can go on as another
            return Phase(number, self._syntax.any_name, root, is_distinct=True)
        is_read = np.zeros(len(universe.keys), np.bool_)
        is_read[named] = True
        if not others:
            return Phase(number, root=root, totals=self._allowed(root, is_read))
        if len(others) == len(universe.classes):  # so a key that may not come, if it is read, can be read on
            return Phase(number, self._told_names(universe), root, is_distinct=True)
        left_out, barred = set[str](), _barred(universe, others)
        for i, key in enumerate(universe.keys):
            if is_read[i]:
                continue
            if universe.class_of[key] in others:  # it must not be read as one of the others
                if self._runs_out(others[universe.class_of[key]], key):
                    left_out.add(key)
                else:
                    is_read[i] = True
            elif barred and universe.class_of[key] not in universe.classes:
                left_out.add(key)
        algebra = self._values.key_algebra
        against = algebra.complement(Words(frozenset(left_out))) if left_out else ANY
        if barred:
            parts = [algebra.all_of(universe.predicates[each] for each in key) for key in barred]
            lexeme = self._told_names(universe, algebra.all_of([against, *map(algebra.complement, parts)]))
        else:
            asked = [(names, i) for i, (key, names) in enumerate(universe.classes.items()) if key in others]
            lexeme = self._syntax.names([(algebra.expr(algebra.all_of([names, against])), i) for names, i in asked])
        return Phase(number, lexeme, root, self._allowed(root, is_read), is_distinct=True)

    def _told_names(self, universe: Universe, names: Texts | None = None) -> int:
        """The lexeme of keys, if not of any, that tell what they satisfy when they end."""
        algebra, told = self._values.key_algebra, sorted(frozenset().union(*universe.classes))
        predicates = [(algebra.uncut(universe.predicates[number]), number) for number in told]
        return self._syntax.told_names(predicates, None if names is None else algebra.expr(names))

    def _allowed(self, root: int, is_read: NDArray[np.bool_]) -> int:
        """The running totals of the keys of a universe that are read."""
        return self._words.allow(root, is_read) if root != NO_NODE else ALL_WORDS

    def _runs_out(self, names: Texts, key: str) -> bool:
        """Whether some beginning of a key has not endless ways to go on among the names."""
        here, arena = self._values.key_algebra.expr(names), self._values.arena
        for byte in spelling(key):
            if arena.is_finite(here):
                return True
            here = arena.step(here, byte)
        return arena.is_finite(here)

    def _names(self, universe: Universe) -> int:
        """The trie of a universe's keys, each labelled with its index."""
        root = self._universe_roots.get(universe)
        if root is None:
            words = list[tuple[bytes, int]]()
            for i, key in enumerate(universe.keys):
                self._objects.spend(1)
                words += [(form + b'"', i) for form in self._values.key_algebra.spellings(key)]
            root = self._universe_roots[universe] = self._words.add(words, self._objects.spend) if words else NO_NODE
        return root

    # ---- what comes next

    def _after_value_start(self, level: int, formulas: tuple[Formula, ...], ended: tuple[int, ...]) -> Phase | None:
        first = ended[0]
        if first == OPEN_STRING:
            return self._phase(InText(level, formulas))
        if first == OPEN_OBJECT:
            frame = self._objects.opened(enumerate(formulas))
            return None if frame is None else self._phase(BehindBrace(level, frame))
        if first == OPEN_ARRAY:
            items = self._arrays.opened(enumerate(formulas))
            return None if items is None else self._phase(Between(level, items, Turn.OPENED))
        if first in KINDS_BY_TAG:
            kind = KINDS_BY_TAG[first]
            return self._after(level, (i for i, each in enumerate(formulas) if self._values.admits(each, kind)))
        return self._after(level, (tag - FIRST_NUMBER for tag in ended))

    def _after_text(self, place: InText, ended: tuple[int, ...], label: int) -> Phase | None:
        asked = self._asked_texts(place)
        read: Iterable[Texts]
        if label >= 0:
            read = self._labels[label]
        else:
            languages = list(asked)
            read = [languages[tag - FIRST_TEXT] for tag in ended]
        return self._after(place.level, (i for texts in read for i in asked[texts]))

    def _after_counted(self, place: InText, ended: tuple[int, ...], label: int) -> Phase | None:
        asked, languages = self._asked_texts(place), self._labels[label]
        read = [texts for i, texts in enumerate(asked) if FIRST_TEXT + i in ended and texts in languages]
        return self._after(place.level, (i for texts in read for i in asked[texts]))

    def _after_name(self, level: int, frame: ObjectFrame, ended: tuple[int, ...], label: int) -> Phase | None:
        universe = frame.universe
        key: Key
        if label >= 0:
            key = universe.keys[label]
        else:
            key = frozenset(ended[:-1]) if ended[-1] == ANY_NAME else list(universe.classes)[ended[0]]
        edges = self._objects.edges(frame, key)
        if not edges:
            return None
        formulas, numbered = _numbered(edges)
        inner = self._level(Level(level, frame, self._objects.place_after(frame, key), numbered))
        return self._phase(AtValue(inner, formulas, Turn.NAMED))

    def _item(self, level: int, frame: ArrayFrame) -> tuple[int, tuple[Formula, ...]]:
        edges = self._arrays.edges(frame)
        formulas, numbered = _numbered(edges)
        return self._level(Level(level, frame, None, numbered)), formulas

    def _closed(self, level: int, frame: ObjectFrame | ArrayFrame) -> Phase | None:
        owners = self._objects.accepted(frame) if isinstance(frame, ObjectFrame) else self._arrays.accepted(frame)
        return self._after(level, owners)

    def _after(self, number: int, holding: Iterable[int]) -> Phase | None:
        """What comes after a value, of which some formulas hold."""
        which = frozenset(holding)
        if not which:
            return None
        level = self._levels[number]
        if level is None:
            return self._phase(AtEnd())
        threads = [edge.thread for i, edge in level.edges if i in which]
        if not threads:
            return None
        if isinstance(level.frame, ObjectFrame):
            assert level.place is not None
            after = self._objects.after(level.frame.universe, level.place, threads)
            return self._phase(Between(level.outer, after, Turn.LATER))
        return self._phase(Between(level.outer, self._arrays.after(level.frame, threads), Turn.LATER))

    def _level(self, level: Level) -> int:
        made = self._level_ids.setdefault(level, len(self._levels))
        if made == len(self._levels):
            self._levels.append(level)
            self._depths.append(self._depths[level.outer] + 1)
        return made


def _numbered(edges: Iterable[Edge]) -> tuple[tuple[Formula, ...], tuple[tuple[int, Edge], ...]]:
    """The formulas that edges ask for, each once, and the edges by their number."""
    numbers: dict[Formula, int] = {}
    found = tuple((numbers.setdefault(edge.value, len(numbers)), edge) for edge in edges)
    return tuple(numbers), found


def _guarding(asked: Sequence[Texts], algebra: TextAlgebra) -> tuple[int, int] | None:
    """The index of a language of all strings, or of all but those of the others, and what spells those of any.

    So which languages have a string need be told only when it ends. None where there is no such language.
    """
    if len(asked) == 1:
        return None
    if ANY in asked:
        return asked.index(ANY), algebra.expr(ANY)
    for i, texts in enumerate(asked):
        others, lacking = [*asked[:i], *asked[i + 1 :]], algebra.lacks(texts)
        if lacking is not None and all(isinstance(each, Words) and each.words <= lacking for each in others):
            left_out = lacking.difference(*(each.words for each in others if isinstance(each, Words)))
            return i, algebra.expr(algebra.complement(Words(left_out))) if left_out else algebra.language.any_text
        if len(others) == 1 and isinstance(texts, Matching | Length) and texts == algebra.complement(others[0]):
            return i, algebra.language.any_text
    return None


def _barred(universe: Universe, others: Collection[KeyClass]) -> list[KeyClass]:
    """The fewest predicates that keys which may not come satisfy together, where all keys that do are such; else none.

    Keys that satisfy no more than a choice of predicates are read as what these are, told apart when they end, rather
    than as so many languages, each of which is without all others.
    """
    barred = [key for key in universe.classes if key not in others]
    least = [key for key in barred if not any(other < key for other in barred)]
    return least if not any(key <= other for key in least for other in others) else []
