# SPDX-License-Identifier: AGPL-3.0-or-later
"""What operators do beside ``cdktf deploy``: ``testyard infra …``, or ``python -m infra.tools …``."""
