#!/bin/bash
# fresh-root.sh CACHE SOURCE COMMAND…: runs a command in a clean minimal Debian, the machine's own
# release, with a copy of SOURCE in /src; nothing of it stays but CACHE/base.tar.
# Namespaces of its own: mount, pid, hostname. The network is the machine's. Needs root and mmdebstrap.
set -euo pipefail
cache=$(mkdir -p "$1" && cd "$1" && pwd)
source=$(cd "$2" && pwd)
shift 2
release=$(. /etc/os-release && echo "$VERSION_CODENAME")

if [ -z "$(find "$cache/base.tar" -mtime -1 2>/dev/null)" ]; then
    mapfile -t lines < <(apt-get indextargets --format '$(ORIGIN) deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' | sed -n 's/^Debian //p')
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,git,sudo "$release" "$cache/base.part.tar" "${lines[@]}"
    mv "$cache/base.part.tar" "$cache/base.tar"
fi

root=$(mktemp -d "$cache/root.XXXXXX")
trap 'rm -rf --one-file-system "$root"' EXIT
tar -C "$root" --xattrs --exclude='./dev/*' -xf "$cache/base.tar"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
# this machine's own apt settings and certificate authorities, without which it may reach nothing
find /etc/apt/apt.conf.d -name '99*' -exec cp {} "$root/etc/apt/apt.conf.d/" \;
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf '127.0.0.1 localhost fresh\n::1 localhost\n' > "$root/etc/hosts"
git clone --quiet --no-hardlinks "$source" "$root/src"

export root
unset PYTHONPATH VIRTUAL_ENV TESTYARD_STATE TESTYARD_CONFIG PIP_FIND_LINKS PIP_CONFIG_FILE XDG_STATE_HOME
unshare --mount --pid --fork --kill-child --uts --mount-proc bash -euc '
    hostname fresh
    mount --make-rprivate /
    mount --bind "$root" "$root"
    cd "$root"
    mkdir -p dev proc sys run tmp old
    mount --rbind /dev dev
    mount -t proc proc proc
    mount --rbind /sys sys
    mount -t tmpfs tmpfs run
    mkdir -p run/lock
    pivot_root . old
    cd /src
    umount -l /old
    rmdir /old
    export HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    exec "$@"' -- "$@"
