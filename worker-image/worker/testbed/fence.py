# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a namespace by itself leaves open, closed: used by enter.py, inside the new namespaces.

pasta carries a packet for this machine's loopback or other addresses to them as it carries any other.
The namespace's `lo` keeps such packets in, but a socket bound to the interface (SO_BINDTODEVICE,
which needs no right) goes past it. Seen: datagrams with their content arrived on 127.0.0.1.
Routes that refuse do not help: for a bound socket the kernel then takes the address for a neighbour's.
Local routes on the interface do: the packet comes back to the namespace itself.

AF_VSOCK leads to the machine below this virtual one, and knows no namespaces: no such sockets. The
kernel's io_uring makes sockets past any such rule, so it is not there either, as in most containers.
Only the standard library is importable here.
"""

import ctypes
import errno
import ipaddress
import os
import socket
import struct

# linux: netlink.h, rtnetlink.h
NLMSG_ERROR, RTM_NEWROUTE = 2, 24
NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE = 0x1, 0x4, 0x400, 0x100
RT_TABLE_LOCAL, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL = 255, 4, 254, 2
RTA_DST, RTA_OIF = 1, 4
#: what always means "this machine"
LOOPBACK = ("127.0.0.0/8", "::1/128")

# linux: seccomp.h, filter.h, audit.h
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL_WITH = 0x7FFF0000, 0x00050000
AF_VSOCK = 40
IO_URING_SETUP = (425, 425 | 0x40000000)  # the same on every machine; the second is x32's
#: machine → (its name in audit.h, numbers of socket(), number of socketcall() or None)
CALLS = {
    "x86_64": (0xC000003E, (41, 41 | 0x40000000), None),
    "i386": (0x40000003, (359,), 102),
    "aarch64": (0xC00000B7, (198,), None),
    "arm": (0x40000028, (281,), 102),
    "ppc64le": (0xC0000015, (326,), 102),
    "s390x": (0x80000016, (359,), 102),
    "riscv64": (0xC00000F3, (198,), None),
}


def keep_at_home(addresses: "list[str]") -> None:
    """Make loopback and these addresses local on every interface of the namespace. Raises OSError."""
    networks = [ipaddress.ip_network(address) for address in (*LOOPBACK, *addresses)]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        for index, name in socket.if_nameindex():
            if name != "lo":
                for network in networks:
                    _add_local_route(link, network, index)


def _add_local_route(
    link: socket.socket, network: "ipaddress.IPv4Network | ipaddress.IPv6Network", interface: int
) -> None:
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    route = struct.pack(
        "=8BI",
        *(family, network.prefixlen, 0, 0),
        *(RT_TABLE_LOCAL, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL, 0),
    )
    packed = network.network_address.packed
    route += struct.pack("=HH", 4 + len(packed), RTA_DST) + packed
    route += struct.pack("=HHI", 8, RTA_OIF, interface)
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    link.send(struct.pack("=IHHII", 16 + len(route), RTM_NEWROUTE, flags, 1, 0) + route)
    answer = link.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    (number,) = struct.unpack_from("=i", answer, 16)
    # a machine without IPv6 has nothing to fence there
    if kind == NLMSG_ERROR and number and -number not in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
        raise OSError(-number, os.strerror(-number), f"local route {network}")


def forbid_vsock() -> None:
    """No AF_VSOCK socket can be made by this process or what it becomes or starts. Raises OSError.

    On machines that `CALLS` does not name nothing is forbidden.
    """
    program = b"".join(_filter())
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "seccomp")


def _filter() -> "list[bytes]":
    """For each machine that this kernel may run: its calls that make a socket, and of which family."""
    refuse = FAIL_WITH | errno.EAFNOSUPPORT
    low = 0 if struct.pack("=H", 1) == b"\1\0" else 4  # where the lower half of a 64-bit argument is
    steps: list[bytes] = []
    for arch, calls, combined in CALLS.values():
        body: list[bytes] = [_step(LOAD, 0)]
        for number in calls:
            # this call with this family: refuse; this call otherwise: go on
            body += [
                _step(JUMP_EQUAL, number, 0, 4),
                _step(LOAD, 16 + low),
                _step(JUMP_EQUAL, AF_VSOCK, 0, 1),
                _step(RETURN, refuse),
                _step(RETURN, ALLOW),
            ]
        # socketcall's arguments lie in memory, where no filter may look; C libraries use socket()
        for number in (*IO_URING_SETUP, *(() if combined is None else (combined,))):
            body += [_step(JUMP_EQUAL, number, 0, 1), _step(RETURN, FAIL_WITH | errno.ENOSYS)]
        body.append(_step(RETURN, ALLOW))
        steps += [_step(LOAD, 4), _step(JUMP_EQUAL, arch, 0, len(body)), *body]
    return [*steps, _step(RETURN, ALLOW)]


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)
