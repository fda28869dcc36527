"""Context-free grammars: GBNF and Lark texts, the grammar that both give, and the byte automaton built from it."""
