"""Check of a number of draws or steps."""

from __future__ import annotations

from numbers import Integral
from typing import Any


def as_count(value: Any, name: str, remedy: str = "") -> int:
    """Return a number of draws or steps as an int.

    Parameters
    ----------
    value : object
        What the user passed.
    name : str
        Name of the parameter, for the message.
    remedy : str
        End of the message.

    Raises
    ------
    ValueError
        If it is no integer of at least 1; True is none.

    Examples
    --------
    >>> as_count(3, "steps")
    3
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"Invalid value for '{name}': {value!r}, expected an integer of at least 1{remedy}."
        )
    return int(value)
