#!/bin/sh
# Run a command as a container does: on a root file system of its own, by a user without rights.
#
#   unshare --mount --pid --fork tests/support/read_only_root.sh MODE ROOT SHOWN COMMAND...
#
# MODE   "build": by root, /opt can be written; "run": nothing can but /data, /weights and /tmp, by user 10001
# ROOT   an empty folder; "opt", "data" and "weights" beside it become /opt, /data and /weights
# SHOWN  what else of this machine is to be seen, read-only: paths, separated by colons
#
# Needs Linux and the rights of root; what is mounted ends with the command, in a mount namespace of its own.
set -eu

mode=$1 root=$2 shown=$3
shift 3
beside=$(dirname "$root")
chroot=$(PATH=$PATH:/usr/sbin:/sbin command -v chroot)

mount --make-rprivate /
mount -t tmpfs -o mode=755 root "$root"
mkdir "$root/opt" "$root/data" "$root/weights" "$root/tmp"

show() { # PATH OPTIONS: the same path in the new root; folders above it are new ones, which everybody may enter
  if [ -L "$1" ]; then
    ln -s "$(readlink "$1")" "$root$1"
  elif [ -d "$1" ]; then
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
    [ "$2" = rw ] || mount -o remount,bind,ro "$root$1"
  fi
}
for path in /usr /bin /sbin /lib /lib64 /etc; do show "$path" ro; done
show /dev rw
mkdir "$root/proc"
mount -t proc proc "$root/proc"
(
  IFS=:
  for path in $shown; do show "$path" ro; done
)
for name in opt data weights; do mount --bind "$beside/$name" "$root/$name"; done
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
if [ "$mode" = build ]; then
  exec "$chroot" "$root" "$@"
fi
mount -o remount,bind,ro "$root/opt"
mount -o remount,ro "$root"
exec "$chroot" "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --inh-caps=-all \
  --bounding-set=-all -- "$@"
