# SPDX-License-Identifier: AGPL-3.0-or-later
# What only the operator of a cloud may make: tests/openstack/test_provider.py.
terraform {
  required_providers {
    openstack = {
      source  = "terraform-provider-openstack/openstack"
      version = "~> 3.4"
    }
  }
}

provider "openstack" {
  cloud  = "plane-admin"
  region = "RegionOne"
}

variable "word" {
  default = "first"
}

data "openstack_identity_role_v3" "member" {
  name = "member"
}

data "openstack_identity_project_v3" "plane" {
  name = "plane"
}

resource "openstack_identity_project_v3" "yard" {
  name        = "provider-yard"
  description = var.word
  tags        = ["testyard"]
}

resource "openstack_identity_user_v3" "worker" {
  name                   = "provider-worker"
  password               = "${var.word}-secret"
  default_project_id     = openstack_identity_project_v3.yard.id
  ignore_password_expiry = true
}

resource "openstack_identity_role_assignment_v3" "worker" {
  user_id    = openstack_identity_user_v3.worker.id
  project_id = openstack_identity_project_v3.yard.id
  role_id    = data.openstack_identity_role_v3.member.id
}

resource "openstack_compute_flavor_v2" "flavor" {
  name        = "provider-private"
  ram         = 1024
  vcpus       = 2
  disk        = 5
  extra_specs = { "testyard:word" = var.word }
}

resource "openstack_compute_flavor_access_v2" "plane" {
  flavor_id = openstack_compute_flavor_v2.flavor.id
  tenant_id = data.openstack_identity_project_v3.plane.id
}

data "openstack_compute_flavor_v2" "flavor" {
  vcpus      = 2
  ram        = 1024
  name       = openstack_compute_flavor_v2.flavor.name
  depends_on = [openstack_compute_flavor_access_v2.plane]
}

resource "openstack_objectstorage_container_v1" "results" {
  name           = "provider results ü"
  container_read = ".r:*,.rlistings"
  metadata       = { word = var.word }
  force_destroy  = true
}

resource "openstack_networking_network_v2" "shared" {
  name   = "provider-shared"
  shared = true
}

resource "openstack_networking_subnet_v2" "shared" {
  network_id = openstack_networking_network_v2.shared.id
  cidr       = "10.78.0.0/24"
  no_gateway = true
}

data "openstack_networking_subnet_v2" "shared" {
  subnet_id = openstack_networking_subnet_v2.shared.id
}

resource "openstack_compute_servergroup_v2" "two" {
  name     = "provider-two"
  policies = ["anti-affinity"]

  rules {
    max_server_per_host = 2
  }
}

output "found" {
  value = [
    data.openstack_compute_flavor_v2.flavor.id == openstack_compute_flavor_v2.flavor.id,
    data.openstack_networking_subnet_v2.shared.cidr,
  ]
}
