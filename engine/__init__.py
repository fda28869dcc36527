"""The engine process: scheduler, radix KV cache, models, sampling. Importing this package loads nothing heavy."""
