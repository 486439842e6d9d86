# SPDX-License-Identifier: AGPL-3.0-or-later
"""The story: from the settings of a stage to its stacks."""

from __future__ import annotations

from pathlib import Path

from cdktf import App

from infra.settings import Settings
from infra.stacks.network import NetworkStack


def build(settings: Settings, *, outdir: Path | None = None) -> App:
    """All stacks of a stage, ready for ``synth()``.

    ``outdir`` is where the files go; without it ``CDKTF_OUTDIR``, else ./cdktf.out.
    """
    app = App(outdir=str(outdir) if outdir else None)
    for region in settings.regions:
        NetworkStack(app, settings=settings, region=region)
    return app
