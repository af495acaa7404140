import contextlib
from collections.abc import Iterator

import pytest
import torch

from spectral_prep.errors import InputError
from spectral_train.device import choose_device, every_device, seeded


def test_the_callers_random_stream_goes_on_as_if_nothing_had_been_drawn() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    torch.manual_seed(3)
    with seeded(5):
        drawn = torch.rand(2).tolist()
    with seeded(5):
        assert torch.rand(2).tolist() == drawn
    assert torch.rand(2).tolist() == expected != drawn


def test_of_many_gpus_one_alone_is_seeded_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at another one would cost it the memory of a context."""
    gpu = torch.device("cuda:2")
    calls: list[tuple[object, object]] = []

    def read(device: torch.device) -> str:
        calls.append(("read", device))
        return "state"

    @contextlib.contextmanager
    def chosen(device: torch.device) -> Iterator[None]:
        calls.append(("choose", device))
        yield

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device", chosen)
    monkeypatch.setattr(torch.cuda, "get_rng_state", read)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: calls.append(("seed", seed)))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: calls.append((state, device)))
    with seeded(5, gpu):
        assert calls == [("read", gpu), ("choose", gpu), ("seed", 5)]
    assert calls[3:] == [("state", gpu)]


def test_every_gpu_is_meant_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert every_device("auto") == every_device("cuda") == ("cuda:0", "cuda:1", "cuda:2")
    assert every_device("cuda:1") == ("cuda:1",)
    assert every_device("cpu") == ("cpu",)


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match=r"no such GPU here.*cuda:0, cuda:1.*cuda:2"):
        choose_device("cuda:2")
