"""`python -m grammars`: has Numba compile the loops into its cache, so that the first start finds them there."""

from grammars.backends.native import NativeBackend
from grammars.vocabulary import Vocabulary

if __name__ == "__main__":
    tokens = [bytes((byte,)) for byte in range(256)]
    NativeBackend(Vocabulary([*tokens, b'","', b""], (257,), frozenset()), 1, 60.0, 1 << 30).warm()
