#!/usr/bin/env bash
# Installs and starts Docker and makes the base image of the tests, as far as that has not been done yet. As root, on
# Debian and Ubuntu. The image comes from the same place as the system's packages, so that no image has to be fetched.
set -euo pipefail

base=${1:-instainfer-test-base:latest}
cache=${INSTAINFER_DOCKER_CACHE:-/var/cache/instainfer-tests}
log=$cache/dockerd.log

answers() { docker version >/dev/null 2>&1; }

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

if ! command -v dockerd >/dev/null || ! command -v debootstrap >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io debootstrap iptables
fi

if ! answers; then
  setsid nohup dockerd >"$log" 2>&1 </dev/null 9>&- &
  for _ in $(seq 100); do
    answers && break
    sleep 0.3
  done
  answers || { tail -20 "$log" >&2; exit 1; }
fi

if ! docker image inspect "$base" >/dev/null 2>&1; then
  . /etc/os-release
  mirror=$(sed -nE 's/^(deb .*|URIs: *)(https?:[^ ]+).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -m1 "/$ID" || true)
  root=$cache/$VERSION_CODENAME
  if [ ! -e "$root.tar" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=python3,python3-venv "$VERSION_CODENAME" "$root" ${mirror:+"$mirror"}
    tar -C "$root" -cf "$root.tar.new" .
    mv "$root.tar.new" "$root.tar"
    rm -rf "$root"
  fi
  docker import "$root.tar" "$base" >/dev/null
fi
