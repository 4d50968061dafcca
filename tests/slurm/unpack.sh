#!/usr/bin/env bash
# Unpack Debian's SLURM, munge and MariaDB into a directory of their own, without installing them: unpack.sh [DIRECTORY]
set -euo pipefail
place=${1:-${XSTILTS_SLURM:-/opt/xstilts-slurm}}
[ -x "$place/usr/bin/sbatch" ] && exit 0
staging=$(mktemp -d "$place.XXXXXX")
trap 'rm -rf "$staging"' EXIT
mkdir -p "$staging/archives/partial"
apt-get update -qq
apt-get install -qq --yes --download-only --no-install-recommends -o "Dir::Cache::archives=$staging/archives" \
    slurmctld slurmd slurm-client slurmdbd munge mariadb-server >"$staging/log" || { cat "$staging/log"; exit 1; }
for package in "$staging"/archives/*.deb; do dpkg --extract "$package" "$staging/root"; done
# The daemons know what they are by their names, which the packages' installation would link.
for daemon in slurmctld slurmd slurmstepd; do ln -s "$daemon-wlm" "$staging/root/usr/sbin/$daemon"; done
mv "$staging/root" "$place"
