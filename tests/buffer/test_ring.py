import numpy as np

from d3rlpy_mbo.buffer.ring import Ring
from d3rlpy_mbo.data.packed_rows import PackedLayout
from toys import line_transitions


def fill(ring: Ring, value: float, n_rows: int) -> None:
    ring.begin_refresh()
    for part in np.array_split(np.full((n_rows, 2), value, np.float32), 3):
        ring.append(part)


def test_it_keeps_exactly_the_last_refreshes_whatever_their_sizes():
    ring = Ring(capacity=3 * 10, width=2, retained_refreshes=3)
    sizes = [10, 4, 7, 1, 10, 9, 10, 10, 3, 0, 5]
    for i, size in enumerate(sizes):
        fill(ring, i, size)
        kept = [j for j in range(max(0, i - 2), i + 1) for _ in range(sizes[j])]
        assert ring.rows()[:, 0].tolist() == kept
        assert len(ring) == len(kept)


def test_it_samples_all_its_rows_and_no_others_also_around_the_end():
    ring = Ring(capacity=2 * 10, width=2, retained_refreshes=2)
    for i, size in enumerate([10, 8, 6]):
        fill(ring, i, size)
    out = np.empty((500, 2), np.float32)
    ring.sample(out)
    shares = [(out[:, 0] == i).mean() for i in range(3)]
    assert shares[0] == 0
    assert abs(shares[1] - 8 / 14) < 0.1


def test_it_allocates_no_more_than_its_rows():
    ring = Ring(capacity=1000, width=14, retained_refreshes=1)
    assert ring.nbytes == 1000 * 14 * 4


def test_packing_and_taking_columns_are_inverse():
    transitions = line_transitions(5, size=3)
    layout = PackedLayout(3, 3)
    columns = layout.columns(layout.pack(transitions))
    for name, values in columns.items():
        np.testing.assert_array_equal(values, getattr(transitions, name))
