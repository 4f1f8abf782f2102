"""The name of an example's file, which the gallery does not define for the code that it runs."""

import builtins


def define_file(gallery_conf, fname):
    """Let ``__file__`` be the path of the example that runs next; it reads and writes beside it."""
    builtins.__file__ = fname
