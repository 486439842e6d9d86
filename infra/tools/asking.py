# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands quota and orphans."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.settings import Region, Settings, load_settings
from infra.tools.cloud import cloud_of
from infra.tools.need import Need, by_flat_rule, of_region, of_testbeds
from infra.tools.options import RegionOption, StageArgument, regions_of
from infra.tools.orphans import Orphan, orphans, remove
from infra.tools.quota import Line, compared, granted
from testyard.cli.confirm import YesOption, confirm
from testyard.cli.edge import JsonOption, UsageError, explained, print_json, say
from testyard.cli.terminal import safe_text

#: Name of an amount → what stands behind its number.
_IN_WORDS = {"cores": "cores", "ram": "GiB of ram", "disk": "GiB of disk"}


@explained
def quota(
    stage: StageArgument,
    region: RegionOption = "",
    margin: Annotated[
        int, typer.Option(min=0, max=1000, metavar="PERCENT", help="So much more than is needed.")
    ] = 10,
    testbeds: Annotated[
        int, typer.Option(min=0, metavar="N", help="Testbeds in instances, at the same time, in each region.")
    ] = 0,
    big: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many of these are for large packages.")
    ] = 0,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no cloud: only what is needed.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show what a stage needs of each region, and what the cloud grants. Exits with 1 if it is too little."""
    if big > testbeds:
        raise UsageError(f"--big: {big} is more than --testbeds {testbeds}")
    settings = load_settings(stage)
    found: dict[str, tuple[Line, ...]] = {}
    for one in regions_of(settings, region):
        need = of_region(settings, one).with_margin(margin / 100) + of_testbeds(settings, testbeds, big)
        found[one.name] = _lines(settings, one, need, offline=offline)
    flat = by_flat_rule(settings, testbeds) if testbeds else None
    short = any(line.missing for lines in found.values() for line in lines)
    if json_:
        print_json(
            {
                "regions": {
                    name: [{**asdict(line), "missing": line.missing} for line in lines]
                    for name, lines in found.items()
                },
                "testbeds": asdict(of_testbeds(settings, testbeds, big)),
                "flat_rule": asdict(flat) if flat else None,
            }
        )
    else:
        for name, lines in found.items():
            _show_quota(name, lines, offline=offline)
        if flat:
            _show_difference(of_testbeds(settings, testbeds, big), flat, testbeds, big)
    if short:
        raise typer.Exit(1)


@explained
def left_over(
    stage: StageArgument,
    region: RegionOption = "",
    remove_: Annotated[bool, typer.Option("--remove", help="Delete them, after a question.")] = False,
    older: Annotated[float, typer.Option("--older", min=0, metavar="DAYS", help="Only these.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --remove: delete nothing.")] = False,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Show what of a stage takes up quota for nothing: volumes, instances, ports, addresses, images."""
    settings = load_settings(stage)
    found: list[tuple[str, Orphan]] = []
    for one in regions_of(settings, region):
        with cloud_of(one) as session:
            found += [(one.name, each) for each in orphans(session, settings) if each.age >= older]
    if json_:
        print_json({"orphans": [{"region": name, **asdict(each)} for name, each in found]})
    else:
        _show_orphans(found)
    if not remove_ or dry_run or not found:
        return
    confirm(len(found), "deletion", yes=yes, few=0)
    for one in regions_of(settings, region):
        with cloud_of(one) as session:
            for name, each in found:
                if name == one.name:
                    remove(session, each)
    say(f"{len(found)} deleted.")


def _lines(settings: Settings, region: Region, need: Need, *, offline: bool) -> tuple[Line, ...]:
    if offline:
        return tuple(Line(name, value, None, 0) for name, value in asdict(need).items() if value)
    with cloud_of(region) as session:
        return compared(need, granted(session, settings))


def _show_quota(region: str, lines: tuple[Line, ...], *, offline: bool) -> None:
    table = Table(f"{region}:", "needed", *(() if offline else ("others", "quota", "missing")), box=None)
    for line in lines:
        more = (str(line.others), "none" if line.quota is None else str(line.quota), str(line.missing or ""))
        style = "red" if line.missing else ""
        table.add_row(_word(line.name), str(line.need), *(() if offline else more), style=style)
    Console().print(table)


def _word(name: str) -> str:
    units = {"ram": "ram, GiB", "disk": "disk, GiB", "gigabytes": "volumes, GiB"}
    return units.get(name, name.replace("_", " "))


def _show_difference(need: Need, flat: Need, testbeds: int, big: int) -> None:
    typer.echo(f"{testbeds} testbeds, {big} of them big: {_amounts(need)}.")
    typer.echo(f"The old rule, a tenth more than {testbeds} small ones: {_amounts(flat)}.")
    short = {
        name: value - getattr(flat, name)
        for name, value in asdict(need).items()
        if name in _IN_WORDS and value > getattr(flat, name)
    }
    if short:
        words = ", ".join(f"{value} {_IN_WORDS[name]}" for name, value in short.items())
        typer.echo(f"By that rule there is too little: {words}.")


def _amounts(need: Need) -> str:
    return ", ".join(f"{getattr(need, name)} {words}" for name, words in _IN_WORDS.items())


def _show_orphans(found: list[tuple[str, Orphan]]) -> None:
    if not found:
        typer.echo("Nothing is left over.")
        return
    several = len({region for region, _ in found}) > 1
    table = Table(box=None, pad_edge=False)
    for title in (*(("region",) if several else ()), "kind", "name", "days", "takes", "why"):
        table.add_column(title, overflow="fold", no_wrap=title in ("region", "kind", "name"))
    for region, one in found:
        place = (region,) if several else ()
        table.add_row(*place, one.kind, safe_text(one.name), f"{one.age:.0f}", one.cost, one.why)
    Console().print(table)
