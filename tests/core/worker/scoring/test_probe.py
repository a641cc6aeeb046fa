"""The time that general questions take: as many as tell something, where that is not far too long."""

from typing import Any

import pytest

pytestmark = pytest.mark.train


@pytest.mark.parametrize(
    ("chunk_s", "seconds", "asked"),
    [
        (2.0, 6.0, 64),  # the demo on two cores: 48 in its time, 64 with a little more
        (2.0, 20.0, 160),
        (2.0, None, 296),
        (6.0, 6.0, 16),  # 50 would take four times as long, and fewer tell nothing
        (0.01, 6.0, 296),
    ],
)
def test_enough_are_asked_where_there_is_time(
    monkeypatch: pytest.MonkeyPatch, chunk_s: float, seconds: float | None, asked: int
) -> None:
    from fitune.core.worker.scoring import probe

    clock = [0.0]

    def chunk(tuned: object, chosen: list[object], options: object) -> list[object]:
        clock[0] += chunk_s
        return chosen

    monkeypatch.setattr(probe, "_chunk", chunk)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    told: list[int] = []
    nothing: Any = None
    assert len(probe.probe(nothing, probe.shipped(), nothing, seconds, told.append)) == asked == told[-1]
