#!/bin/sh
# Boots a systemd in the namespaces that it is called in, as process 1. It sees this machine's files, changes none of
# them, and starts none of its units.
set -eu
mount --make-rprivate /
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs -o mode=755 none /run
for folder in /etc /usr/local; do
    mkdir -p "/run/changes$folder" "/run/work$folder"
    mount -t overlay -o "lowerdir=$folder,upperdir=/run/changes$folder,workdir=/run/work$folder" none "$folder"
done
mkdir -p /run/systemd/system /run/lock
for unit in /lib/systemd/system/*.wants/* /etc/systemd/system/*.wants/*; do
    ln -sf /dev/null "/run/systemd/system/${unit##*/}"
done
# As process 1 finds it elsewhere: how credentials reach a service.
mount --make-rshared /
printf '[Unit]\nDefaultDependencies=no\n' > /run/systemd/system/nothing.target
# Generators would make units for the disks in fstab.
exec env -i container=other SYSTEMD_GENERATOR_PATH=/run/none PATH="$PATH" \
    /lib/systemd/systemd --system --unit=nothing.target --log-target=console --log-level=notice --show-status=0
