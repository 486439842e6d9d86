# SPDX-License-Identifier: AGPL-3.0-or-later
# What a project of a cloud may make for itself: tests/openstack/test_provider.py.
terraform {
  required_providers {
    openstack = {
      source  = "terraform-provider-openstack/openstack"
      version = "~> 3.4"
    }
  }
}

provider "openstack" {
  cloud  = "plane"
  region = "RegionOne"
}

variable "prefix" {
  default = "yard"
}

variable "hosts" {
  default = 2
}

variable "flavor" {
  default = "provider-small"
}

variable "user_data_file" {}

variable "volume_size" {
  default = 1
}

data "openstack_images_image_v2" "image" {
  name_regex  = "^plane-amd64$"
  most_recent = true
}

data "openstack_networking_network_v2" "outside" {
  name     = "public"
  external = true
}

resource "openstack_networking_network_v2" "network" {
  name           = "${var.prefix}-network"
  admin_state_up = true
  tags           = ["testyard", "stage=devel"]
}

resource "openstack_networking_subnet_v2" "subnet" {
  name            = "${var.prefix}-subnet"
  network_id      = openstack_networking_network_v2.network.id
  ip_version      = 4
  cidr            = "10.77.0.0/24"
  dns_nameservers = ["192.0.2.1", "192.0.2.2"]

  allocation_pool {
    start = "10.77.0.10"
    end   = "10.77.0.99"
  }
}

resource "openstack_networking_router_v2" "router" {
  name                = "${var.prefix}-router"
  external_network_id = data.openstack_networking_network_v2.outside.id
}

resource "openstack_networking_router_interface_v2" "interface" {
  router_id = openstack_networking_router_v2.router.id
  subnet_id = openstack_networking_subnet_v2.subnet.id
}

resource "openstack_networking_secgroup_v2" "ssh" {
  # no instance takes a group that it has already under another name: Neutron answers 400
  name        = "yard-ssh"
  description = "ssh"
}

resource "openstack_networking_secgroup_rule_v2" "ssh" {
  for_each          = { bridge = "10.20.20.0/24", office = "2001:db8::/64" }
  direction         = "ingress"
  ethertype         = each.key == "bridge" ? "IPv4" : "IPv6"
  protocol          = "tcp"
  port_range_min    = 22
  port_range_max    = 22
  remote_ip_prefix  = each.value
  security_group_id = openstack_networking_secgroup_v2.ssh.id
}

resource "openstack_networking_port_v2" "front" {
  name               = "${var.prefix}-front"
  network_id         = openstack_networking_network_v2.network.id
  security_group_ids = [openstack_networking_secgroup_v2.ssh.id]

  fixed_ip {
    subnet_id  = openstack_networking_subnet_v2.subnet.id
    ip_address = "10.77.0.100"
  }
}

resource "openstack_networking_floatingip_v2" "front" {
  pool = "public"
}

resource "openstack_networking_floatingip_associate_v2" "front" {
  floating_ip = openstack_networking_floatingip_v2.front.address
  port_id     = openstack_networking_port_v2.front.id
  depends_on  = [openstack_networking_router_interface_v2.interface]
}

resource "openstack_compute_keypair_v2" "key" {
  name = "yard-key"
}

resource "openstack_compute_servergroup_v2" "apart" {
  name     = "yard-apart"
  policies = ["soft-anti-affinity"]
}

resource "openstack_compute_instance_v2" "host" {
  count           = var.hosts
  name            = "${var.prefix}-host-${count.index}"
  image_id        = data.openstack_images_image_v2.image.id
  flavor_name     = var.flavor
  key_pair        = openstack_compute_keypair_v2.key.name
  security_groups = [openstack_networking_secgroup_v2.ssh.name]
  user_data       = file(var.user_data_file)
  metadata        = { testyard = "devel" }
  tags            = ["testyard"]

  network {
    uuid = openstack_networking_network_v2.network.id
  }

  scheduler_hints {
    group = openstack_compute_servergroup_v2.apart.id
  }

  depends_on = [openstack_networking_subnet_v2.subnet]
}

resource "openstack_blockstorage_volume_v3" "data" {
  name                 = "${var.prefix}-data"
  size                 = var.volume_size
  enable_online_resize = true
}

resource "openstack_compute_volume_attach_v2" "data" {
  instance_id = openstack_compute_instance_v2.host[0].id
  volume_id   = openstack_blockstorage_volume_v3.data.id
}

resource "openstack_identity_application_credential_v3" "worker" {
  name  = "yard-worker"
  # Keystone adds the roles that these imply: without "reader" each plan would replace it
  roles = ["member", "reader"]

  access_rules {
    path    = "/v2.1/servers"
    method  = "GET"
    service = "compute"
  }
}

output "addresses" {
  value = openstack_compute_instance_v2.host[*].access_ip_v4
}

output "credential" {
  value     = [openstack_identity_application_credential_v3.worker.id, openstack_identity_application_credential_v3.worker.secret]
  sensitive = true
}

output "private_key" {
  value     = openstack_compute_keypair_v2.key.private_key
  sensitive = true
}
