# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stands for Cinder's storage: a volume is an empty file of the right length, which takes no space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cinder.volume import driver
from oslo_config import cfg

_OPTIONS = [cfg.StrOpt("plane_folder", help="Where the files are.")]


class FileDriver(driver.VolumeDriver):  # type: ignore[misc]
    """Volumes and snapshots; what a machine is told of its volume leads nowhere."""

    VERSION = "1"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(_OPTIONS)
        self._folder = Path(self.configuration.plane_folder)

    def check_for_setup_error(self) -> None:
        """The folder must be there."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def create_volume(self, volume: Any) -> None:
        """A file without blocks."""
        with (self._folder / volume.name).open("wb") as file:
            file.truncate(volume.size << 30)

    def create_cloned_volume(self, volume: Any, src_vref: Any) -> None:
        """As large and as empty."""
        self.create_volume(volume)

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None:
        """As large and as empty."""
        self.create_volume(volume)

    def copy_image_to_volume(
        self, context: Any, volume: Any, image_service: Any, image_id: str, **_: Any
    ) -> None:
        """The volume stays empty: nothing boots from it."""

    def delete_volume(self, volume: Any) -> None:
        """Remove the file; it may be gone already."""
        (self._folder / volume.name).unlink(missing_ok=True)

    def extend_volume(self, volume: Any, new_size: int) -> None:
        """Make the file longer."""
        with (self._folder / volume.name).open("ab") as file:
            file.truncate(new_size << 30)

    def create_snapshot(self, snapshot: Any) -> None:
        """Cinder's record is all."""

    def delete_snapshot(self, snapshot: Any) -> None:
        """Cinder's record was all."""

    def ensure_export(self, context: Any, volume: Any) -> None:
        """Nothing to export."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> None:
        """Nothing to export."""

    def remove_export(self, context: Any, volume: Any) -> None:
        """Nothing was exported."""

    def initialize_connection(self, volume: Any, connector: Any) -> dict[str, Any]:
        """What Nova's fake driver takes and does not use."""
        return {"driver_volume_type": "local", "data": {"device_path": str(self._folder / volume.name)}}

    def terminate_connection(self, volume: Any, connector: Any, **_: Any) -> None:
        """Nothing was connected."""

    def _update_volume_stats(self) -> None:
        self._stats = {
            "volume_backend_name": self.configuration.safe_get("volume_backend_name"),
            "vendor_name": "Testyard",
            "driver_version": self.VERSION,
            "storage_protocol": "local",
            "total_capacity_gb": 100_000,
            "free_capacity_gb": 100_000,
            "reserved_percentage": 0,
            "multiattach": False,
        }
