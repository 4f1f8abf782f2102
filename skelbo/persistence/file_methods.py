"""Methods `to_file` and `from_file` of an estimator, and the declarations behind them."""

from __future__ import annotations

from typing import Any

from skelbo.persistence.disk import MAX_BYTES
from skelbo.persistence.estimator_file import load, save
from skelbo.persistence.fields import (
    Chosen,
    Field,
    Flag,
    Mapping,
    Names,
    Number,
    Optional,
    Sequence,
    Text,
)
from skelbo.persistence.values import Vocabulary

OUTPUT = Mapping({"transform": Text(("default", "pandas", "polars"))})


class FileMethods:
    """Files of a fitted estimator.

    A subclass declares its fitted attributes, private ones included, in `_file_attributes`: the
    closed list of what a file may set, with kind, shape, dtype and limits of each. It begins with
    the attributes that all estimators have, those of ``super()``. Shapes follow from the
    parameters and ``n_features_in_``, which are set when it is called, or (`Chosen`) from
    attributes that stand before. What cannot be an attribute as it is, such as a network, is
    converted by `_file_state` and `_set_file_state`; `_file_vocabulary` names the built-in objects
    among the parameters.
    """

    def _file_attributes(self) -> dict[str, Field | Chosen]:
        """Return the fields of the fitted attributes, in the order in which they are read."""
        if type(self)._file_attributes is FileMethods._file_attributes:
            raise NotImplementedError(
                f"{type(self).__name__} has no files: it declares no _file_attributes; use pickle."
            )
        return {
            **self._file_attributes_of_input(),
            "lower_bound_": Number(),
            "lower_bounds_": Sequence(Number()),
            "n_iter_": Number(integer=True, low=0),
            "converged_": Flag(),
            "_sklearn_output_config": Optional(OUTPUT),
        }

    @staticmethod
    def _file_attributes_of_input() -> dict[str, Field | Chosen]:
        """Return the fields of what is read first: number and names of the columns."""
        names = Chosen(lambda state: Optional(Names(state["n_features_in_"])))
        return {"n_features_in_": Number(integer=True, low=1), "feature_names_in_": names}

    @classmethod
    def _file_vocabulary(cls) -> Vocabulary:
        """Return the built-in objects that parameters may be, beside plain values."""
        return Vocabulary()

    @classmethod
    def _file_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return parameters from a file as this machine can use them."""
        return params

    def _file_state(self) -> dict[str, Any]:
        """Return the fitted attributes by their names."""
        return vars(self)

    def _set_file_state(self, state: dict[str, Any]) -> None:
        """Set the fitted attributes; ValueError if they do not fit together."""
        shaping = self._shaping_parameters()  # type: ignore[attr-defined]
        vars(self).update(state, _fitted_with={name: getattr(self, name) for name in shaping})

    def to_file(self, path):
        """Write the fitted estimator to one file, without pickle.

        The file is a safetensors file with parameters and results as JSON in its header, and a
        SHA-256 of everything. It holds all that the estimator needs to go on as it is: scores,
        `sample`, ``warm_start`` and `partial_fit`; for `partial_fit` of a mixture also the first
        rows of the stream, as long as these are kept. It is there whole or not at all.

        Parameters
        ----------
        path : path-like
            File to write. A symbolic link is followed.

        Raises
        ------
        OSError
            If the file cannot be written, with the path; what was there before is unchanged.
        ValueError
            If an attribute was set to what no file can hold.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from skelbo import GaussianMLE
        >>> model = GaussianMLE().fit(np.array([[0.0], [2.0], [4.0]]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.to_file(f"{folder}/model")
        ...     loaded = GaussianMLE.from_file(f"{folder}/model")
        >>> loaded.mean_
        array([2.])
        """
        self._check_fitted()  # type: ignore[attr-defined]
        save(self, path)

    @classmethod
    def from_file(cls, path, *, max_bytes=MAX_BYTES, **params):
        """Read a fitted estimator that `to_file` wrote; nothing in the file is executed.

        Everything is checked before memory is taken for it: the SHA-256, the parameters (as the
        constructor's are in a fit), names, shapes and dtypes of the arrays against the parameters.

        Parameters
        ----------
        path : path-like
            File to read, from anywhere.
        max_bytes : int, default=2**30
            Largest file that is read.
        **params : dict
            Parameters of the constructor that replace those of the file (``device``, say), and
            those of your own, of which a file holds only the name: a model or a network. ``model=``
            takes the class, which is given the parameters of the file, or an instance.

        Returns
        -------
        estimator : object
            Fitted: it goes on exactly as the one that was written.

        Raises
        ------
        ValueError
            If the file is altered, truncated, too large or not of this class, or if a parameter
            of your own is missing.
        OSError
            If there is no regular file at the path.
        """
        return load(cls, path, max_bytes, params)
