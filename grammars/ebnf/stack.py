"""The stacks of a parse in progress, merged into one immutable graph.

A node stands for one position in a text: the places where rules are being read that call others there. A return is a
rule begun at a node; it leads to what follows in every rule that called it there. Rules that begin at a node and call
further ones wait at that same node, so left recursion, through whatever rules, is a circle inside a node and never
makes the graph deeper. Nodes are made after those they lead back to, and equal ones are one: so states recur.
"""

from __future__ import annotations

from typing import Final

from grammars.ebnf.network import DONE, Network, Place
from grammars.ebnf.shortest import NEVER

Return = int
"""The number of a rule begun at a node."""
END: Return = 0
"""The return of the root: the end of the text."""

_MOST_COMPARED: Final = 4
"""Nodes that a new one is compared with."""

Item = tuple[Place, Return]
"""A place in a rule, and where that rule returns to."""


class Stack:
    """Nodes and returns of one network's parses."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._nodes: dict[frozenset[Item], int] = {}
        self._items: list[frozenset[Item]] = []
        self._returns: dict[tuple[int, int], Return] = {}
        self._origins: list[tuple[int, int]] = [(0, 0)]
        self._waiting: dict[Return, tuple[Item, ...]] = {}
        self._exits: dict[Return, tuple[int, Item | None]] = {END: (0, None)}

    def __len__(self) -> int:
        return len(self._items)

    def begun(self, items: frozenset[Item]) -> list[tuple[int, Return]]:
        """The rules that begin where items call, each with its return."""
        node = self._nodes.get(items)
        if node is None:
            node = self._nodes[items] = self._made(items)
        return [(rule, self._return(rule, node)) for rule in self._called(items)]

    def _made(self, items: frozenset[Item]) -> int:
        """A new node, or one that its items return to where that leads to the same texts.

        It does where its returns wait for the same items, those that return to the new node taken as returning to it:
        then both solve the same equations. So an ambiguous rule such as `x ::= x x` doesn't make the graph deeper.
        """
        node = len(self._items)
        self._items.append(items)
        self._wake(node)
        returns = {self._return(rule, node): rule for rule in self._called(items)}
        outers = {self._origins[back][1] for _, back in items if back != END}
        for outer in sorted(outers)[-_MOST_COMPARED:]:
            same = {back: self._return(rule, outer) for back, rule in returns.items()}
            if all(
                {(place, same.get(to, to)) for place, to in self._waiting[back]} == set(self._waiting.get(alike, ()))
                for back, alike in same.items()
            ):
                return outer
        return node

    def waiting(self, back: Return) -> tuple[Item, ...]:
        """The items that go on once the rule of a return has been read. Not for `END`."""
        return self._waiting[back]

    def exit(self, back: Return) -> tuple[int, Item | None]:
        """The least number of bytes from a return to the end of the text, and the item to go on with; None at it."""
        missing = [back]
        while missing:
            here = missing[-1]
            node = self._origins[here][1]
            outer = {item[1] for item in self._items[node]} if here not in self._exits else ()
            unknown = [one for one in outer if one not in self._exits]
            missing += unknown
            if not unknown:
                missing.pop()
                if here not in self._exits:
                    self._measure(node)
        return self._exits[back]

    def _return(self, rule: int, node: int) -> Return:
        key = rule, node
        made = self._returns.setdefault(key, len(self._origins))
        if made == len(self._origins):
            self._origins.append(key)
        return made

    def _called(self, items: frozenset[Item]) -> tuple[int, ...]:
        calls = (rule for place, _ in items for rule, _ in self._network.edges(place).calls)
        return self._network.predicted(frozenset(calls))

    def _wake(self, node: int) -> None:
        """Finds what waits at a node, for all rules called there."""
        waiting: dict[int, dict[Item, None]] = {rule: {} for rule in self._called(self._items[node])}
        for place, back in self._items[node]:
            for rule, after in self._network.edges(place).calls:
                waiting[rule][after, back] = None
        for caller in list(waiting):
            back, edges = self._return(caller, node), self._network.edges(~caller)
            for rule, after in (*edges.calls, *((rule, DONE) for rule in edges.last_calls)):
                waiting[rule][after, back] = None
        for rule, items in waiting.items():
            self._waiting[self._return(rule, node)] = tuple(items)

    def _measure(self, node: int) -> None:
        """The exits of a node's returns, whose outer exits are known; an item is chosen only where it is nearer."""
        returns = [self._return(rule, node) for rule in self._called(self._items[node])]
        exits: dict[Return, tuple[int, Item | None]] = dict.fromkeys(returns, (NEVER, None))
        nearer = True
        while nearer:
            nearer = False
            for back in returns:
                for item in self.waiting(back):
                    after = exits[item[1]] if item[1] in exits else self._exits[item[1]]
                    distance = self._network.least(item[0]) + after[0]
                    if distance < exits[back][0]:
                        exits[back] = distance, item
                        nearer = True
        self._exits |= exits
