#!/bin/sh
# docker/make_base.sh [TAG]: make the base image from Debian packages alone, where no registry can be
# reached. About 400 MB and one minute; needs root, debootstrap and a Docker daemon.
# DEBIAN_SUITE and DEBIAN_MIRROR choose the source.
set -eu
tag=${1:-turngym/swe-base:bookworm}
suite=${DEBIAN_SUITE:-bookworm}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

docker image inspect "$tag" >/dev/null 2>&1 && { echo "$tag exists"; exit 0; }
command -v debootstrap >/dev/null || {
    echo "make_base.sh needs debootstrap: apt-get install -y debootstrap" >&2
    exit 1
}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase \
    --include=ca-certificates,git,patch,python3,python3-pip,python3-pytest,python3-venv,procps \
    "$suite" "$root" "$mirror" >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* "$root"/usr/share/man/*
rm -f "$root.log"
ln -sf python3 "$root/usr/bin/python"
tar -C "$root" --numeric-owner -c . | docker import \
    --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' \
    --change 'ENV LANG=C.UTF-8' \
    --change 'CMD ["bash"]' \
    - "$tag" >/dev/null
echo "made $tag"
