# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every stack has: terraform's version, the provider, a place for its state, names and tags."""

from __future__ import annotations

from typing import Any

from cdktf import LocalBackend, S3Backend, TerraformOutput, TerraformResourceLifecycle, TerraformStack
from cdktf_cdktf_provider_openstack.provider import OpenstackProvider
from constructs import Construct

from infra.settings import Region, Settings, Stage, StateStore

# use_lockfile came with 1.10
TERRAFORM_VERSION = ">= 1.10, < 2.0"
# The bindings are made from 3.0.0 and pin exactly that. 3.4 dropped nothing that they know, and
# 3.4.0 carries a security fix.
PROVIDER_VERSION = "~> 3.4"


class RegionStack(TerraformStack):
    """A stack in one region; its name is ``KIND-REGION``, as ``network-north``."""

    def __init__(self, scope: Construct, kind: str, *, settings: Settings, region: Region) -> None:
        super().__init__(scope, f"{kind}-{region.name}")
        self.settings, self.region = settings, region
        self.prefix = settings.prefix
        self.tags = ["testyard", f"stage={settings.stage}"]
        self.add_override("terraform.required_version", TERRAFORM_VERSION)
        # The credentials are read where terraform runs: clouds.yaml or OS_*.
        OpenstackProvider(self, "openstack", cloud=region.cloud, region=region.name)
        self.add_override("terraform.required_providers.openstack.version", PROVIDER_VERSION)
        state = f"{settings.stage}/{kind}-{region.name}.tfstate"
        if settings.state_store is None:
            # relative to cdktf.out/stacks/NAME, where terraform runs; an absolute path would tie
            # the synthesised files to this machine
            LocalBackend(self, path=f"../../../state/{state}")
        else:
            self._keep_state_in(settings.state_store, state)

    def _keep_state_in(self, store: StateStore, key: str) -> None:
        S3Backend(
            self,
            bucket=store.bucket,
            key=key,
            region=store.region,
            endpoints={"s3": store.endpoint},
            use_path_style=True,
            # Ceph, Swift and others have neither Amazon's accounts nor its metadata service
            skip_credentials_validation=True,
            skip_metadata_api_check=True,
            skip_region_validation=True,
            skip_requesting_account_id=True,
            skip_s3_checksum=True,
        )
        # newer than cdktf's class
        self.add_override("terraform.backend.s3.use_lockfile", True)

    def publish(self, name: str, value: Any, description: str, *, secret: bool = False) -> None:
        """An output under exactly this name: the contract with other stacks, services and operators."""
        TerraformOutput(
            self, name, value=value, description=description, static_id=True, sensitive=secret or None
        )

    def kept_in_production(self) -> TerraformResourceLifecycle | None:
        """For what holds the only copy of something: a plan that would remove it fails."""
        if self.settings.stage is not Stage.PRODUCTION:
            return None
        return TerraformResourceLifecycle(prevent_destroy=True)
