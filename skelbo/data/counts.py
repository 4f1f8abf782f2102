"""Checks of counts: integers that are no bools."""

from __future__ import annotations

from numbers import Integral
from typing import Any


def is_count(value: Any, low: int = 1) -> bool:
    """Return whether a value is an integer of at least `low`; True and False are none.

    Examples
    --------
    >>> is_count(3), is_count(3.0), is_count(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low


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
    if not is_count(value):
        raise ValueError(
            f"Invalid value for '{name}': {value!r}, expected an integer of at least 1{remedy}."
        )
    return int(value)
