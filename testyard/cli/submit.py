# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard request``: ask for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from testyard.cli.asking import Asked, ask, ask_and_show, show_asked
from testyard.cli.choices import check_names_differ, checked_request, chosen_queues, note_pocket
from testyard.cli.edge import JsonOption, StateOption, UsageError, command_settings, explained, say
from testyard.cli.follow import follow
from testyard.cli.followed import finish, interruptible
from testyard.client import SiteClient
from testyard.intake.known import Standing
from testyard.intake.submit import Wish
from testyard.settings import Settings

ForceOption = Annotated[
    bool, typer.Option("--force", help="Also if the same waits, runs, or has passed already.")
]


@explained
def request(
    package: Annotated[list[str], typer.Argument(metavar="PACKAGE", help="Source packages to test.")],
    release: Annotated[
        str | None, typer.Option("--release", "-s", metavar="NAME", help="Release; the only one by default.")
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option(
            "--arch", "-a", metavar="NAME", help="Architecture; repeatable; all configured by default."
        ),
    ] = None,
    trigger: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE/VERSION", help="What asks for it; repeatable.")
    ] = None,
    ppa: Annotated[list[str] | None, typer.Option(metavar="OWNER/NAME", help="Archive; repeatable.")] = None,
    env: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="For the test; repeatable.")
    ] = None,
    test_git: Annotated[
        str | None, typer.Option(metavar="URL[#BRANCH]", help="Tests from there, packages from the archive.")
    ] = None,
    build_git: Annotated[
        str | None, typer.Option(metavar="URL[#BRANCH]", help="Tests and packages from there.")
    ] = None,
    testname: Annotated[str | None, typer.Option(metavar="NAME", help="Run only this test.")] = None,
    all_proposed: Annotated[bool, typer.Option("--all-proposed", help="Use all of -proposed.")] = False,
    context: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Queue context; by default ubuntu, ppa or upstream."),
    ] = None,
    bulk: Annotated[bool, typer.Option("--bulk", help="One of very many: context huge.")] = False,
    readable_by: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Private; who may read it; repeatable.")
    ] = None,
    swiftuser: Annotated[
        str | None, typer.Option(metavar="NAME", help="Private; account of the store that may read it.")
    ] = None,
    requester: Annotated[str | None, typer.Option(metavar="NAME", help="Who asks; you by default.")] = None,
    force: ForceOption = False,
    follow_: Annotated[bool, typer.Option("--follow", "-f", help="Watch it until it is done.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Ask for the tests of packages; prints each request's id, by which it is found at every later step."""
    settings = command_settings(state)
    if bulk and context not in (None, "huge"):
        raise UsageError(f"--bulk: means --context huge, not {context}")
    parameters: dict[str, Any] = {
        "triggers": trigger or [],
        **({"ppas": ppa} if ppa else {}),
        **({"env": env} if env else {}),
        **({"test-git": test_git} if test_git is not None else {}),
        **({"build-git": build_git} if build_git is not None else {}),
        **({"testname": testname} if testname is not None else {}),
        **({"all-proposed": "1"} if all_proposed else {}),
        **({"readable-by": readable_by} if readable_by else {}),
        **({"swiftuser": swiftuser} if swiftuser is not None else {}),
        **({"requester": requester} if requester is not None else {}),
    }
    check_names_differ(env or [])
    wishes: list[Wish] = []
    for name in dict.fromkeys(package):
        checked = checked_request(name, parameters)  # refuses before anything is sent
        queues = chosen_queues(settings, "huge" if bulk else context, release, arch, checked)
        wishes += [Wish(queue, name, parameters, force=force) for queue in queues]
    if follow_ and len(wishes) > 1:
        _refuse_to_follow(wishes)
    note_pocket(settings, checked)
    if follow_:
        _send_and_follow(settings, wishes[0], as_json=json_)
    else:
        ask_and_show(settings, wishes, as_json=json_)


def _refuse_to_follow(wishes: Sequence[Wish]) -> None:
    names = ", ".join(dict.fromkeys(wish.queue.architecture for wish in wishes))
    if len({wish.package for wish in wishes}) > 1:
        raise UsageError("--follow: needs one package")
    raise UsageError("--follow: needs one architecture", resolution=f"Name it with --arch: {names}.")


def _send_and_follow(settings: Settings, wish: Wish, *, as_json: bool) -> None:
    console = Console(stderr=as_json, soft_wrap=True)
    with SiteClient(settings.site.url) as site:
        (asked,) = ask(settings, [wish])
        if asked.standing is Standing.PASSED and not asked.request_id:
            say("It has passed already; --force asks for it again.")
            show_asked([asked], [wish.package], as_json=as_json)
            return
        with interruptible(asked.request_id):
            console.print(f"request {asked.request_id} {_where(asked)}", highlight=False)
            console.print(asked.url, style="blue underline", highlight=False)
            run = follow(site, asked.request_id, console)
    finish(asked.request_id, asked.queue, run, as_json)


def _where(asked: Asked) -> str:
    if asked.standing is Standing.ACCEPTED:
        return f"is in {asked.queue}"
    return f"is {asked.standing} for {asked.queue}"
