# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a stage takes of its clouds: the true amount, and that of the old flat rule."""

from __future__ import annotations

from infra.settings import load_settings
from infra.tools.need import Need, by_flat_rule, of_region, of_testbeds
from infra.tools.quota import Granted, compared

DEVEL, PRODUCTION = load_settings("devel"), load_settings("production")


def test_the_old_rule_and_the_truth() -> None:
    flat = by_flat_rule(DEVEL, 100)
    assert (flat.cores, flat.ram, flat.disk) == (220, 440, 2200)
    true = of_testbeds(DEVEL, 100, 10)
    assert (true.instances, true.cores, true.ram, true.disk) == (100, 220, 440, 2800)


def test_a_region_has_all_that_stands_in_it() -> None:
    home, south = PRODUCTION.regions
    found = of_region(PRODUCTION, home)
    # 14 LXD hosts, 14 workers, 3 brokers, a database, 2 of functions, 3 of the site, a balancer
    assert found.instances == 14 + 14 + 3 + 1 + 2 + 3 + 1
    assert (found.volumes, found.gigabytes) == (4, 3 * 50 + 200)
    assert found.floating_ips == 3 + 1
    assert of_region(PRODUCTION, south).volumes == 0


def test_a_margin_is_rounded_up_but_not_for_nothing() -> None:
    assert Need(instances=1, cores=100, ram=7).with_margin(0.1) == Need(instances=2, cores=110, ram=8)
    assert Need(cores=3).with_margin(0) == Need(cores=3)


def test_what_is_missing() -> None:
    need = Need(instances=10, cores=40, ram=80, disk=500)
    granted = Granted({"instances": 12, "cores": 40, "ram": 200}, {"instances": 3, "ram": 1})
    lines = {line.name: line for line in compared(need, granted)}
    assert {name: line.missing for name, line in lines.items()} == {
        "instances": 1,
        "cores": 0,
        "ram": 0,
        "disk": 0,  # Nova has no quota for it
    }
    assert lines["disk"].quota is None
