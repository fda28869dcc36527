"""JSON Schema, compiled natively: its documents, its keywords, and the automata they become."""
