"""The stacks of a parse in progress, merged into one immutable graph.

A node stands for one position in a text: the places where rules are being read that call others there. A return is a
rule begun at a node; it leads to what follows in every rule that called it there. Rules that begin at a node and call
further ones wait at that same node, so left recursion, through whatever rules, is a circle inside a node and never
makes the graph deeper. Nodes are made after those they lead back to, and equal ones are one: so states recur.
"""

from __future__ import annotations

from typing import Final

from grammars.ebnf.network import DONE, Network, Place
from grammars.shortest import NEVER

Return = int
"""The number of a rule begun at a node."""
END: Return = 0
"""The return of the root: the end of the text."""
OPEN: Return = 1
"""The return of a rule of which nobody knows what follows it."""

_MOST_COMPARED: Final = 4
"""Nodes that a new one is compared with."""

Item = tuple[Place, Return]
"""A place in a rule, and where that rule returns to."""


class Stack:
    """Nodes and returns of one network's parses."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._known: dict[frozenset[Item], dict[int, Return]] = {}
        self._items: list[frozenset[Item]] = []
        self._begun: list[dict[int, Return]] = []
        """For each node the rules that begin there, with their returns."""
        self._origins: list[int] = [0, 0]
        """The node of each return; `END` and `OPEN` have none."""
        self._waiting: list[frozenset[Item]] = [frozenset(), frozenset()]
        self._exits: dict[Return, tuple[int, Item | None]] = {END: (0, None)}

    def __len__(self) -> int:
        return len(self._items)

    @property
    def num_returns(self) -> int:
        return len(self._origins)

    def begun(self, items: frozenset[Item]) -> dict[int, Return]:
        """The rules that begin where items call, each with its return."""
        known = self._known.get(items)
        if known is None:
            known = self._known[items] = self._begin(items)
        return known

    def waiting(self, back: Return) -> frozenset[Item]:
        """The items that go on once the rule of a return has been read; none for `END` and `OPEN`."""
        return self._waiting[back]

    def exit(self, back: Return) -> tuple[int, Item | None]:
        """The least number of bytes from a return to the end of the text, and the item to go on with; None at it."""
        missing = [back]
        while missing:
            here = missing[-1]
            if here in self._exits:
                missing.pop()
                continue
            node = self._origins[here]
            unknown = [outer for _, outer in self._items[node] if outer not in self._exits]
            missing += unknown
            if not unknown:
                self._measure(node)
        return self._exits[back]

    def _begin(self, items: frozenset[Item]) -> dict[int, Return]:
        """Begins rules at a new node, or at one that its items return to where that leads to the same texts.

        It does where its returns wait for the same items, those that return to the new node taken as returning to it:
        then both solve the same equations. So an ambiguous rule such as `x ::= x x` doesn't make the graph deeper.
        """
        node = len(self._items)
        called = frozenset(rule for place, _ in items for rule, _ in self._network.edges(place).calls)
        begun = {rule: len(self._origins) + k for k, rule in enumerate(self._network.predicted(called))}
        self._items.append(items)
        self._begun.append(begun)
        self._origins += [node] * len(begun)
        self._waiting += self._waits(items, begun)
        outers = {self._origins[back] for _, back in items if back > OPEN}
        for outer in sorted(outers)[-_MOST_COMPARED:]:
            if begun.keys() <= self._begun[outer].keys():
                same = {back: self._begun[outer][rule] for rule, back in begun.items()}
                if all(
                    {(place, same.get(to, to)) for place, to in self._waiting[back]} == self._waiting[alike]
                    for back, alike in same.items()
                ):
                    return dict(zip(begun, same.values(), strict=True))
        return begun

    def _waits(self, items: frozenset[Item], begun: dict[int, Return]) -> list[frozenset[Item]]:
        """What waits at a node, for each rule that begins there."""
        edges = self._network.edges
        waiting: dict[int, list[Item]] = {rule: [] for rule in begun}
        for place, back in items:
            for rule, after in edges(place).calls:
                waiting[rule].append((after, back))
        for caller, back in begun.items():
            called = edges(~caller)
            for rule, after in called.calls:
                waiting[rule].append((after, back))
            for rule in called.last_calls:
                waiting[rule].append((DONE, back))
        return list(map(frozenset, waiting.values()))

    def _measure(self, node: int) -> None:
        """The exits of a node's returns, whose outer exits are known; an item is chosen only where it is nearer."""
        returns = self._begun[node].values()
        exits: dict[Return, tuple[int, Item | None]] = dict.fromkeys(returns, (NEVER, None))
        nearer = True
        while nearer:
            nearer = False
            for back in returns:
                for item in self._waiting[back]:
                    after = exits[item[1]] if item[1] in exits else self._exits[item[1]]
                    distance = self._network.least(item[0]) + after[0]
                    if distance < exits[back][0]:
                        exits[back] = distance, item
                        nearer = True
        self._exits |= exits
