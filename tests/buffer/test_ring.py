import numpy as np
import torch

from d3rlpy_mbo.buffer.ring import Ring
from d3rlpy_mbo.data.packed_rows import PackedLayout
from sizes import peak_of_numpy
from toys import line_transitions


def fill(ring: Ring, value: float, n_rows: int) -> None:
    ring.begin_refresh()
    origins = np.stack([np.arange(n_rows), np.full(n_rows, value)], axis=1)
    rows = np.stack([np.full(n_rows, value), np.arange(n_rows)], axis=1)
    for part in np.array_split(np.arange(n_rows), 3):
        ring.append(np.float32(rows[part]), origins[part])


def sample(ring: Ring, n_rows: int) -> np.ndarray:
    out = np.empty((n_rows, 2), np.float32)
    ring.take(ring.draw(n_rows), out)
    return out


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
    out = sample(ring, 500)
    shares = [(out[:, 0] == i).mean() for i in range(3)]
    assert shares[0] == 0
    assert abs(shares[1] - 8 / 14) < 0.1


def test_it_allocates_no_more_than_its_rows():
    ring = Ring(capacity=1000, width=14, retained_refreshes=1)
    assert ring.nbytes == 1000 * (14 * 4 + 2 * 8) == Ring.bytes_of(1000, 14)
    # One byte more where it remembers which rows no penalty is subtracted from.
    spares = Ring(capacity=1000, width=14, retained_refreshes=1, spares=True)
    assert spares.nbytes == ring.nbytes + 1000 == Ring.bytes_of(1000, 14, spares=True)


def test_a_checkpoint_is_no_copy_of_the_rows_also_around_the_end():
    ring, again = (Ring(2 * 10, 2, 2, folded=True, spares=True) for _ in range(2))
    for i, size in enumerate([10, 8, 6]):
        ring.begin_refresh()
        rows = np.random.rand(size, 2).astype(np.float32)
        origins = np.full((size, 2), i)
        ring.append(rows, origins, rows[:, 0], rows[:, 1] > 0.5)
    state = ring.checkpoint_state()
    parts = [state, state["behind"]]
    assert [len(part["rows"]) for part in parts] == [10, 4]  # from place 10 of 20 on
    for name in ("rows", "origins", "intervals", "spared"):
        store = getattr(ring, f"_{name}")
        assert all(np.shares_memory(part[name].numpy(), store) for part in parts)
    again.restore_checkpoint(state)
    assert np.array_equal(again.rows(), ring.rows())
    places, theirs = np.arange(14), np.arange(10, 24) % 20
    for asked in ("origins", "intervals", "spared"):
        ours, its = getattr(again, asked)(places), getattr(ring, asked)(theirs)
        assert np.array_equal(ours, its)
    # One that was written before held all rows in one part.
    whole = {n: torch.cat([part[n] for part in parts]) for n in parts[1]}
    older = Ring(2 * 10, 2, 2, folded=True, spares=True)
    older.restore_checkpoint({**whole, "sizes": state["sizes"]})
    assert np.array_equal(older.rows(), ring.rows())


def test_it_remembers_of_which_rows_nothing_is_subtracted_also_around_the_end():
    ring = Ring(capacity=2 * 10, width=2, retained_refreshes=2, spares=True)
    for size in (10, 8, 6, 10, 7):
        ring.begin_refresh()
        rows = np.random.randint(2, size=(size, 2)).astype(np.float32)
        ring.append(rows, np.zeros((size, 2), np.int64), spared=rows[:, 0] > 0)
    places, out = ring.draw(200), np.empty((200, 2), np.float32)
    ring.take(places, out)
    assert ring.spared(places).tolist() == (out[:, 0] > 0).tolist()
    assert Ring(4, 2, 1).spared(places) is None


def test_rows_keep_where_they_come_from_also_around_the_end():
    ring = Ring(capacity=2 * 10, width=2, retained_refreshes=2)
    for i, size in enumerate([10, 8, 6, 10, 7]):
        fill(ring, i, size)
    places = ring.draw(200)
    out = np.empty((200, 2), np.float32)
    ring.take(places, out)
    origins = ring.origins(places)
    assert origins.dtype == np.int64
    np.testing.assert_array_equal(origins[:, 1], out[:, 0])
    assert set(origins[origins[:, 1] == 3, 0]) == set(range(10))


def test_what_follows_a_row_goes_on_around_the_end_until_a_terminal():
    ring = Ring(capacity=4, width=2, retained_refreshes=1)
    for terminals in ([0, 0, 0], [0, 0, 0], [0, 1, 0]):
        ring.begin_refresh()
        rows = np.stack([[10, 11, 12], terminals], axis=1)  # rewards first
        ring.append(np.float32(rows), np.zeros((3, 2), np.int64))
        place = np.arange(ring.shape[0])[ring.held][:1]
        rest = ring.rest(place, np.array([3]), PackedLayout(0, 0))
        n_rows = 2 if any(terminals) else 3
        assert (rest.n_rows, rest.ended) == ([n_rows], [any(terminals)])
        assert rest.rewards[0, :n_rows].tolist() == [10, 11, 12][:n_rows]


def test_whole_numbers_beyond_float32_survive():
    ring = Ring(capacity=4, width=2, retained_refreshes=1)
    ring.begin_refresh()
    ring.append(np.zeros((1, 2), np.float32), np.array([[2**24 + 1, 2**53 + 1]]))
    assert ring.origins(ring.draw(1)).tolist() == [[2**24 + 1, 2**53 + 1]]


def test_packing_and_taking_columns_are_inverse():
    transitions = line_transitions(5, size=3)
    layout = PackedLayout(3, 3)
    columns = layout.columns(layout.pack(transitions))
    for name, values in columns.items():
        np.testing.assert_array_equal(values, getattr(transitions, name))


def test_what_follows_rows_is_read_without_the_columns_that_nobody_asks_for():
    layout = PackedLayout(50, 10)
    ring = Ring(capacity=1000, width=layout.width, retained_refreshes=2)
    rows = np.random.uniform(size=(500, layout.width)).astype(np.float32)
    rows[:, layout.terminal] = 0.0
    rows[300, layout.terminal] = 1.0
    for _ in range(2):
        ring.begin_refresh()
        ring.append(rows, np.zeros((500, 2), np.int64))
    places, n_rows = np.array([790, 100, 900]), np.full(3, 200)  # 900: over the end
    with peak_of_numpy() as peak:
        rest = ring.rest(places, n_rows, layout)
    assert peak[0] < 3 * 200 * layout.width * 4 / 3
    assert rest.n_rows.tolist() == [11, 200, 200]
    assert rest.ended.tolist() == [True, False, False]
    rewards = np.tile(rows[:, layout.reward], 3)
    for place, n, found in zip(places, rest.n_rows, rest.rewards, strict=True):
        assert found[:n].tolist() == rewards[place : place + n].tolist()
