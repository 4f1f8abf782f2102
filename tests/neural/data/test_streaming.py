"""Tables on disk: memory maps and Datasets, read while the networks learn."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from skelbo.neural import Columns, DatasetTable
from skelbo.neural.data.streaming import StreamedRows
from skelbo.neural.estimator import is_large_file
from tests.neural.networks import small, weights

IRIS = load_iris().data


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_streamed_fit_is_as_good_as_one_from_memory(early_stopping, weighted):
    """Sorted rows are the worst case for reading in order."""
    rng = np.random.default_rng(0)
    X = np.sort(rng.normal(size=(1000, 1)), axis=0) * [[1.0, 2.0, -1.0]]
    X += 0.1 * rng.normal(size=X.shape)
    weights = rng.integers(0, 3, 1000) if weighted else None
    params = {"hidden_layer_sizes": (), "lr": 5e-2, "max_iter": 20, "batch_size": 64}
    model = small(1, early_stopping=early_stopping, **params)
    streamed = clone(model).fit(TensorDataset(torch.tensor(X)), sample_weight=weights)
    in_memory = clone(model).fit(X, sample_weight=weights)
    assert streamed.score(X) > in_memory.score(X) - 0.1
    assert streamed.n_iter_ == len(streamed.lower_bounds_)


def test_large_memory_maps_are_streamed(tmp_path):
    file = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=(100, 4))
    assert is_large_file(file, limit=3199)
    assert not is_large_file(file, limit=3200)
    assert not is_large_file(np.array(file), limit=0)


def test_a_stream_yields_every_row_once():
    X = np.arange(1000.0)[:, None]
    columns = Columns.read(X, None, "gaussian")
    rows = StreamedRows(X, None, columns, torch.zeros(1).double(), np.arange(0, 1000, 10), 7)
    seen = torch.cat([batch.targets for batch in rows.shuffled(torch.Generator())])
    places = np.round(columns.restore(seen.numpy())).ravel()
    assert sorted(places) == [i for i in range(1000) if i % 10]
    assert rows.held_out.n_samples == 100
    assert len(rows) == 900


class Recorded(Dataset):
    """Rows beside a label; records how many were read at once."""

    def __init__(self, X):
        self.X, self.largest = X, 0

    def __len__(self):
        return len(self.X)

    def __getitem__(self, place):
        return self.X[place], "a label"

    def __getitems__(self, places):
        self.largest = max(self.largest, len(places))
        return [self[place] for place in places]


@pytest.mark.parametrize(
    ("weighted", "likelihood", "dtype"),
    [(False, "gaussian", np.float32), (True, "auto", np.float64)],
)
def test_a_dataset_is_read_as_the_file_of_its_rows(tmp_path, weighted, likelihood, dtype):
    rng = np.random.default_rng(0)
    file = np.memmap(tmp_path / "rows", dtype=dtype, mode="w+", shape=(1000, 4))
    file[:] = rng.normal(size=(1000, 4)) + rng.normal(size=(1000, 1))
    file[:, 1] = file[:, 1] > 0
    file[:, 2] = np.clip(np.round(file[:, 2]), 0, 2)
    file[::7, 0] = np.nan
    sample_weight = rng.integers(1, 3, 1000).astype(float) if weighted else None
    dataset, held_out = Recorded(file), np.arange(0, 1000, 9)
    table = DatasetTable(dataset, read_cells=400)
    table.check()
    assert dataset.largest == 100
    epochs = []
    for X in (file, table):
        columns = Columns.read(X, sample_weight, likelihood)
        like = torch.zeros(1, dtype=torch.float64)
        rows = StreamedRows(X, sample_weight, columns, like, held_out, batch_size=4)
        dataset.largest = 0
        batches = list(rows.shuffled(torch.Generator().manual_seed(0)))
        assert dataset.largest <= 64 * rows.batch_size
        epochs.append([columns, *batches, rows.held_out, rows.sample(50)])
    for one, other in zip(*(epoch[1:] for epoch in epochs), strict=True):
        for part, same in zip(one, other, strict=True):
            assert part is same is None or torch.equal(part, same)
    assert np.array_equal(epochs[0][0].kinds, epochs[1][0].kinds)


def test_datasets_of_torch_are_read():
    dataset = TensorDataset(torch.tensor(IRIS), torch.zeros(150))
    fits = [small().fit(rows) for rows in (dataset, Subset(dataset, range(150)))]
    passes = [small().partial_fit(rows) for rows in (dataset, IRIS)]
    assert torch.equal(*map(weights, passes))
    assert fits[0].n_features_in_ == 4
    assert torch.equal(*map(weights, fits))


class Endless(IterableDataset):
    def __iter__(self):
        return iter(IRIS)


class Uncounted(Dataset):
    def __getitem__(self, place):
        return IRIS[place]


def test_a_dataset_that_cannot_be_read_is_refused():
    infinite = torch.zeros(150, 4)
    infinite[7, 1] = np.inf
    cases = [
        (Endless(), TypeError, "expected a map-style Dataset"),
        (Uncounted(), TypeError, "without __len__"),
        (TensorDataset(torch.zeros(0, 4)), ValueError, "Dataset of 0 rows"),
        (TensorDataset(torch.zeros(1, 4)), ValueError, "1 sample"),
        (TensorDataset(torch.zeros(9, 2, 2)), ValueError, r"item 0 .* shape \(2, 2\), expected"),
        (Recorded([*IRIS[:9], IRIS[9, :3]]), ValueError, r"item 9 .* shape \(3,\), expected"),
        (TensorDataset(infinite), ValueError, "infinity: item 7"),
    ]
    for dataset, kind, message in cases:
        with pytest.raises(kind, match=message):
            small().fit(dataset)
