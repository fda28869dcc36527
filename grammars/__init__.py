"""JSON Schema, regex, EBNF and choices compiled to token-mask automata. NumPy and Numba, no torch."""
