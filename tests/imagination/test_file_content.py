"""Files are validated before anything is built of them; older ones still load."""

import io
import zipfile
from pathlib import Path

import pytest
import torch

import d3rlpy_mbo as mbo
from toys import line_dataset, small_ensemble


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    imagination = mbo.ImaginationConfig(
        dynamics=small_ensemble("reverse", batch_size=16, max_steps=3),
        rollout_policy=mbo.BehaviorCloningPolicyConfig(hidden_units=[4], n_steps=2),
    ).create()
    imagination.fit(line_dataset(n_episodes=4))
    path = tmp_path_factory.mktemp("saved") / "x.mbo"
    imagination.save(path)
    return path


def changed(saved: Path, tmp_path: Path, change, *, old: bool = True) -> Path:
    """A copy with a change, without the digest if it is as version 0.1 wrote it."""
    content = torch.load(saved, weights_only=True)
    if old:
        del content["digest"]
    change(content)
    torch.save(content, tmp_path / "x.mbo")
    return tmp_path / "x.mbo"


def test_a_file_without_a_digest_loads_as_those_of_0_1(saved, tmp_path):
    assert mbo.load_imagination(changed(saved, tmp_path, lambda content: None)).fitted


def test_a_changed_number_is_noticed(saved, tmp_path):
    def change(content):
        content["state"]["components"]["dynamics"]["inputs"]["mean"][0] += 1e-6

    with pytest.raises(mbo.LoadError, match="its digest does not match"):
        mbo.load_imagination(changed(saved, tmp_path, change, old=False))


def test_no_flipped_bit_goes_unnoticed(saved, tmp_path):
    content = saved.read_bytes()
    good = mbo.load_imagination(saved).checkpoint_state()
    path, n_refused = tmp_path / "flipped.mbo", 0
    for place in range(0, len(content), len(content) // 60):
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            found = mbo.load_imagination(path).checkpoint_state()
        except mbo.LoadError:
            n_refused += 1
        else:  # in bytes that say nothing: padding, dates
            assert repr(found) == repr(good)
    assert n_refused > 20


def without(*keys):
    def change(content):
        *first, last = keys
        for key in first:
            content = content[key]
        del content[last]

    return change


def put(value, *keys):
    def change(content):
        *first, last = keys
        for key in first:
            content = content[key]
        content[last] = value(content[last]) if callable(value) else value

    return change


RANGE = ("state", "action_range")
DYNAMICS = ("state", "components", "dynamics")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("components"), "components is missing, expected list"),
        (without("config"), "config is missing, expected str"),
        (without("state", "n_rows"), "state.n_rows is missing"),
        (put("x", "state", "changed"), "state.changed is 'x', expected bool"),
        (put("x", "state", "metrics"), "state.metrics is str, expected dict"),
        (put([1], "components"), r"components\[0\] is 1"),
        (put(-1, "state", "observation_size"), "observation_size is -1"),
        (put(lambda low: low + 9, *RANGE, "low"), "action_range is no range"),
        (
            put(lambda high: high + torch.inf, *RANGE, "high"),
            "action_range is no range",
        ),
        (put(lambda mean: mean * torch.nan, *DYNAMICS, "inputs", "mean"), "NaN"),
        (put(lambda rows: rows + 999, *DYNAMICS, "holdout_indices"), "no rows of 96"),
        (put(lambda rows: rows * 0, *DYNAMICS, "holdout_indices"), "no rows of 96"),
        (
            put(lambda rows: torch.zeros(1).expand(10**12), *DYNAMICS, "n_rows"),
            "claims a size",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_place(saved, tmp_path, change, words):
    with pytest.raises(mbo.LoadError, match=words):
        mbo.load_imagination(changed(saved, tmp_path, change))


def test_networks_that_the_file_does_not_fill_are_not_built(saved, tmp_path):
    def change(content):
        content["config"] = content["config"].replace("[32, 32]", "[50000, 50000]")

    with pytest.raises(mbo.LoadError, match="asks for more than its state fills"):
        mbo.load_imagination(changed(saved, tmp_path, change))


def test_a_packed_file_is_refused_before_it_is_read(saved, tmp_path, monkeypatch):
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(saved) as archive,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    path = tmp_path / "packed.mbo"
    path.write_bytes(packed.getvalue())
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(mbo.LoadError, match="would grow to .* bytes when read"):
        mbo.load_imagination(path)
