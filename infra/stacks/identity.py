# SPDX-License-Identifier: AGPL-3.0-or-later
"""As whom our services go out. The only state with secrets in it: no other stack reads it."""

from __future__ import annotations

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_openstack.compute_keypair_v2 import ComputeKeypairV2
from cdktf_cdktf_provider_openstack.data_openstack_identity_project_v3 import (
    DataOpenstackIdentityProjectV3,
)
from cdktf_cdktf_provider_openstack.data_openstack_identity_role_v3 import DataOpenstackIdentityRoleV3
from cdktf_cdktf_provider_openstack.identity_application_credential_v3 import (
    IdentityApplicationCredentialV3,
    IdentityApplicationCredentialV3AccessRules,
)
from cdktf_cdktf_provider_openstack.identity_role_assignment_v3 import IdentityRoleAssignmentV3
from cdktf_cdktf_provider_openstack.identity_user_v3 import IdentityUserV3
from constructs import Construct

from infra.settings import Region, Settings
from infra.settings.access import Credential, User
from infra.stacks.base import RegionStack


class IdentityStack(RegionStack):
    """The key pair of the first operator; in the home region application credentials and users, too."""

    def __init__(self, scope: Construct, *, settings: Settings, region: Region) -> None:
        super().__init__(scope, "identity", settings=settings, region=region)
        # the others' keys come with the secrets
        pair = ComputeKeypairV2(self, "keypair", name=self.prefix, public_key=settings.operators[0].key)
        self.publish("keypair_name", pair.name, "key pair of all instances")
        if region is settings.home:
            for credential in settings.identity.credentials:
                self._make(credential)
            if settings.identity.users:
                project = DataOpenstackIdentityProjectV3(self, "project", name=settings.identity.project)
                for user in settings.identity.users:
                    self._make_user(user, project.id)

    def _make(self, wanted: Credential) -> None:
        made = IdentityApplicationCredentialV3(
            self,
            f"credential-{wanted.name}",
            name=f"{self.prefix}-{wanted.name}",
            description="made by Testyard's deployment",
            roles=list(wanted.roles),
            access_rules=[
                IdentityApplicationCredentialV3AccessRules(
                    service=rule.service, method=rule.method, path=rule.path
                )
                for rule in wanted.rules
            ],
            unrestricted=False,
        )
        self.publish(f"{wanted.name}_credential_id", made.id, f"application credential of {wanted.name}")
        self.publish(
            f"{wanted.name}_credential_secret", made.secret, f"and its secret: {wanted.name}", secret=True
        )

    def _make_user(self, wanted: User, project: str) -> None:
        user = IdentityUserV3(
            self,
            f"user-{wanted.name}",
            name=f"{self.prefix}-{wanted.name}",
            description="made by Testyard's deployment; has no password until somebody sets one",
            default_project_id=project,
            lifecycle=TerraformResourceLifecycle(ignore_changes=["password"]),
        )
        for role in wanted.roles:
            IdentityRoleAssignmentV3(
                self,
                f"user-{wanted.name}-{role}",
                user_id=user.id,
                project_id=project,
                role_id=self._role(role),
            )
        self.publish(f"{wanted.name}_user_id", user.id, f"user {wanted.name}")

    def _role(self, name: str) -> str:
        key = f"role-{name}"
        found = self.node.try_find_child(key)
        if not isinstance(found, DataOpenstackIdentityRoleV3):
            found = DataOpenstackIdentityRoleV3(self, key, name=name)
        return str(found.id)
