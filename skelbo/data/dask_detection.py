"""Recognition of Dask collections without importing Dask."""

from __future__ import annotations

import sys
from typing import Any


def is_dask(X: Any) -> bool:
    """Return whether X is a Dask collection, without importing Dask."""
    dask = sys.modules.get("dask")
    return dask is not None and bool(dask.is_dask_collection(X))
