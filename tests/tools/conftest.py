from __future__ import annotations

import sys
import zoneinfo
from collections.abc import Iterator

import pytest
from agentkit_tools import clock


@pytest.fixture
def no_zone_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A computer without time zone data: neither the system's nor the tzdata package."""

    def forget() -> None:
        zoneinfo.ZoneInfo.clear_cache()
        clock._zone_keys.cache_clear()
        clock._zone_cities.cache_clear()

    for module in {"tzdata", *(name for name in sys.modules if name.startswith("tzdata."))}:
        monkeypatch.setitem(sys.modules, module, None)
    zoneinfo.reset_tzpath(to=[])
    forget()
    yield
    monkeypatch.undo()
    zoneinfo.reset_tzpath()
    forget()
