"""Table of strings, printed in columns or as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PrintedTable:
    """Cells as text, numbers to the right.

    Attributes
    ----------
    columns : dict of str to list of str
        Cells of each column, by its name.
    left : set of str
        Names of the columns that are text.
    """

    columns: Mapping[str, Sequence[str]]
    left: frozenset[str]

    def __str__(self) -> str:
        widths = {
            name: max(len(name), *map(len, cells)) if cells else len(name)
            for name, cells in self.columns.items()
        }

        def line(cells: Sequence[str]) -> str:
            pairs = zip(self.columns, cells, strict=True)
            parts = (
                cell.ljust(widths[name]) if name in self.left else cell.rjust(widths[name])
                for name, cell in pairs
            )
            return "  ".join(parts).rstrip()

        rows = zip(*self.columns.values(), strict=True)
        return "\n".join(map(line, [tuple(self.columns), *rows]))

    def to_html(self) -> str:
        """Return a table in HTML."""

        def row(cells: Sequence[str], tag: str) -> str:
            parts = []
            for name, cell in zip(self.columns, cells, strict=True):
                side = "left" if name in self.left else "right"
                parts.append(f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>')
            return f"<tr>{''.join(parts)}</tr>"

        head = row(tuple(self.columns), "th")
        body = "".join(row(cells, "td") for cells in zip(*self.columns.values(), strict=True))
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def number(value: Any, form: str = ".4g") -> str:
    """Return a number as text, nothing for NaN."""
    return "" if np.isnan(value) else format(float(value), form)


def data_frame(columns: Mapping[str, Any]) -> Any:
    """Return columns as a pandas DataFrame; ImportError that names the remedy without pandas."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_frame() needs pandas; install it: pip install pandas.") from error
    return pd.DataFrame(dict(columns))
