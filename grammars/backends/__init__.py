"""Foreign grammar compilers behind the protocols of `grammars.automaton`. They run in worker processes."""
