# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard infra``: the commands. Exit codes: 0 done, 1 an error or something is wrong, 2 usage."""

from __future__ import annotations

import typer

from infra.tools.asking import left_over, quota
from infra.tools.deploying import deploy, destroy, plan, status
from infra.tools.importing import import_rc

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Make a cloud what a stage's settings say, and keep an eye on it.",
)
app.command("plan")(plan)
app.command("deploy")(deploy)
app.command("status")(status)
app.command("destroy")(destroy)
app.command("quota")(quota)
app.command("orphans")(left_over)
app.command("import-rc")(import_rc)


def main() -> None:
    """Run the commands."""
    app(prog_name="testyard infra")


if __name__ == "__main__":
    main()
