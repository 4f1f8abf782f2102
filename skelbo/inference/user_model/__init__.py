"""User-written torch models behind the interface of the built-in ones."""
