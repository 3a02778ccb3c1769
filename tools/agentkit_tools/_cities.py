"""A table of some eight hundred cities and their time zones, for the clock and the sample weather.

`_cities.csv` was made from GeoNames (https://www.geonames.org, CC BY 4.0), shortened: large cities, capitals,
places many people ask for and some of their namesakes, the largest first.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from functools import cache
from importlib import resources

from agentkit_tools._places import Place, fold, lies_in


def find_cities(name: str) -> list[Place]:
    """List the cities of this name or alias, the largest first."""
    return list(_by_name().get(fold(name), ()))


def cities_like(prefix: str) -> list[Place]:
    """List the cities whose name or alias begins so: those of just this name first, then by size."""
    wanted = fold(prefix)
    longer = [place for name, places in _by_name().items() if name.startswith(wanted) for place in places]
    longer.sort(key=lambda place: -place.population)
    return list(dict.fromkeys([*find_cities(prefix), *longer]))


def cities_in(region: str) -> list[Place]:
    """List the cities of a country or state, the largest first."""
    return [place for place in all_cities() if lies_in(place, region)]


def city_names() -> list[str]:
    """List all names, without doubles."""
    return list(dict.fromkeys(place.name for place in all_cities()))


def all_cities() -> tuple[Place, ...]:
    """List all cities, the largest first."""
    return tuple(place for place, _ in _table())


@cache
def _table() -> tuple[tuple[Place, str], ...]:
    source = resources.files("agentkit_tools") / "_cities.csv"
    rows = csv.DictReader(source.read_text(encoding="utf-8").splitlines())
    return tuple((Place.model_validate(row), row["aliases"]) for row in rows)


@cache
def _by_name() -> dict[str, list[Place]]:
    index: dict[str, list[Place]] = defaultdict(list)
    for place, aliases in _table():
        for name in dict.fromkeys([fold(place.name), *map(fold, aliases.split("|"))]):
            if name:
                index[name].append(place)
    return dict(index)
