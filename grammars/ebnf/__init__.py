"""Context-free grammars: GBNF and Lark texts, the grammar that both give, and the automaton over bytes built from it."""
