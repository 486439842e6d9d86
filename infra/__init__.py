# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Testyard runs on, as cdktf stacks for OpenStack. docs/infra.md is the guide."""
