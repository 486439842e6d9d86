# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all sections are made of: names, architectures, and what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Both become parts of terraform addresses and stack names. A label has no underscore, which
# joins labels to one address.
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
RegionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]
#: A release's code name, as queues have it (testyard/queue.py).
Release = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._]*$", max_length=40)]
Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class Stage(StrEnum):
    """How serious it is."""

    DEVEL = "devel"
    STAGING = "staging"
    PRODUCTION = "production"


class Architecture(StrEnum):
    """Debian's names."""

    AMD64 = "amd64"
    ARM64 = "arm64"
    ARMHF = "armhf"
    I386 = "i386"
    PPC64EL = "ppc64el"
    RISCV64 = "riscv64"
    S390X = "s390x"

    @property
    def machine(self) -> Architecture:
        """The architecture of the instances that its tests run on."""
        return _MACHINES.get(self, self)


#: Clouds have no instances of these: a wider processor runs them.
_MACHINES = MappingProxyType({Architecture.ARMHF: Architecture.ARM64, Architecture.I386: Architecture.AMD64})


class Section(BaseModel):
    """Frozen; what it does not know is an error."""

    # no input in errors: what was meant for a file of secrets may stand there by mistake
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def twice(values: Iterable[str]) -> list[str]:
    """What is there more than once."""
    return [str(value) for value, count in Counter(values).items() if count > 1]


def reject_twice(field: str, values: Iterable[str]) -> None:
    """Raises ValueError that names what is there more than once."""
    if found := twice(values):
        raise ValueError(f"{field}: given twice: {', '.join(found)}")
