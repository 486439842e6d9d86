# SPDX-License-Identifier: AGPL-3.0-or-later
# One instance, whose image can be wrong: tests/openstack/test_provider.py.
terraform {
  required_providers {
    openstack = {
      source  = "terraform-provider-openstack/openstack"
      version = "~> 3.4"
    }
  }
}

provider "openstack" {
  cloud = "plane"
}

variable "image" {
  default = "plane-amd64"
}

variable "user_data_file" {}

data "openstack_images_image_v2" "image" {
  name_regex = "^${var.image}$"
}

resource "openstack_networking_network_v2" "single" {
  name = "single"
}

resource "openstack_networking_subnet_v2" "single" {
  network_id = openstack_networking_network_v2.single.id
  cidr       = "10.79.0.0/24"
}

resource "openstack_compute_instance_v2" "single" {
  name        = "single"
  image_id    = data.openstack_images_image_v2.image.id
  flavor_name = "provider-small"
  user_data   = file(var.user_data_file)

  network {
    uuid = openstack_networking_subnet_v2.single.network_id
  }
}
