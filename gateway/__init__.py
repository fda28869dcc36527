"""The HTTP process: Litestar API, admission, streaming, command line. Never imports torch."""
