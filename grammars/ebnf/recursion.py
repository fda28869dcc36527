"""What of a grammar's recursion needs a stack: rules that call themselves first or last are repetitions instead.

A rule `a ::= x a | a y | a z a | b` derives `x* b y* (z x* b y*)*`, by Arden's lemma (1961), whatever else `a` is
called for inside of x, y, z and b. Of the calls that remain, only those that close a circle have to be calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from grammars.ebnf.grammar import Alternatives, Chars, Expressions, Grammar, Literal, Reference, Repetition, Series


def without_recursion_at_ends(grammar: Grammar) -> Grammar:
    """A grammar of the same texts with repetitions where rules call themselves first or last.

    Rules stay as they are that have no other alternative, and so no text; and left-recursive ones that may end with
    themselves by way of other rules: those are ambiguous, and as a repetition inside of itself such a rule would need
    a stack as high as its text is long, where a last call needs none.
    """
    table = Expressions(grammar.expressions)
    circular = _ending_in_themselves(grammar)
    rules = {
        name: replace(rule, body=_unrolled(table, name, rule.body, name in circular))
        for name, rule in grammar.rules.items()
    }
    return Grammar(table.table, rules, grammar.root)


def _ending_in_themselves(grammar: Grammar) -> set[str]:
    """Rules that may end with a call of another rule that may end with them; perhaps some more."""
    ends: dict[str, set[str]] = {}
    for name, rule in grammar.rules.items():
        ends[name] = _last_calls(grammar, rule.body) - {name}
    begins: dict[str, set[str]] = {name: set() for name in ends}
    for name, called in ends.items():
        for one in called:
            begins[one].add(name)
    left = set(ends)
    for forth, back in ((ends, begins), (begins, ends)):
        num_left = {name: len(forth[name] & left) for name in left}
        done = [name for name in left if not num_left[name]]
        for name in done:  # grows while it is read
            left.discard(name)
            for one in back[name] & left:
                num_left[one] -= 1
                if not num_left[one]:
                    done.append(one)
    return left


def _last_calls(grammar: Grammar, body: int) -> set[str]:
    """The rules with a call of which an expression may end; every rule counts as one that may be empty."""
    found: set[str] = set()
    seen, waiting = {body}, [body]
    while waiting:
        match grammar.expressions[waiting.pop()]:
            case Reference(rule):
                found.add(rule)
                continue
            case Series(parts):
                size = len(parts)
                while size > 1 and _may_be_empty(grammar, parts[size - 1]):
                    size -= 1
                new = set(parts[size - 1 :])
            case Alternatives(parts):
                new = set(parts)
            case Repetition(part):
                new = {part}
            case _:
                continue
        waiting += new - seen
        seen |= new
    return found


def _may_be_empty(grammar: Grammar, expression: int) -> bool:
    """False only for what can't be."""
    match grammar.expressions[expression]:
        case Literal(text):
            return not text
        case Chars():
            return False
        case Repetition(_, least):
            return least == 0
        case _:
            return True


def _unrolled(table: Expressions, rule: str, body: int, only_last: bool) -> int:
    """The body of a rule with repetitions for its recursion."""
    own = Reference(rule)
    whole = table.table[body]
    before: list[int] = []
    after: list[int] = []
    between: list[int] = []
    others: list[int] = []
    for alternative in whole.parts if isinstance(whole, Alternatives) else (body,):
        one = table.table[alternative]
        parts = one.parts if isinstance(one, Series) else (alternative,)
        first = bool(parts) and table.table[parts[0]] == own
        last = len(parts) > first and table.table[parts[-1]] == own
        rest = parts[first : len(parts) - last]
        if first or last:
            kind = between if first and last else after if first else before
            kind.append(table.series(rest))
        else:
            others.append(alternative)
    if not others or not (before or after or between) or (only_last and (after or between)):
        return body
    once = [*_any_number(table, before), table.alternatives(others), *_any_number(table, after)]
    if between:
        again = table.series([table.alternatives(between), *once])
        once.append(table.add(Repetition(again, 0, None)))
    return table.series(once)


def _any_number(table: Expressions, bodies: Sequence[int]) -> list[int]:
    return [table.add(Repetition(table.alternatives(bodies), 0, None))] if bodies else []


def calls_in_order(calls: Sequence[Iterable[int]]) -> tuple[list[int], set[int]]:
    """Rules that rule 0 reaches, and of these some without which no rule reaches itself.

    Each rule comes after those that it calls, save for calls of rules in the set.
    """
    ordered: list[int] = []
    recursive: set[int] = set()
    is_open = {0: True}
    path = [(0, iter(calls[0]))]
    while path:
        rule, left = path[-1]
        called = next(left, None)
        if called is None:
            path.pop()
            ordered.append(rule)
            is_open[rule] = False
        elif called not in is_open:
            is_open[called] = True
            path.append((called, iter(calls[called])))
        elif is_open[called]:
            recursive.add(called)
    return ordered, recursive
