"""JSON Schema, regex, EBNF, Lark and choices compiled to token-mask automata. NumPy and Numba, no torch."""
