# Prints what a builder can see, one observable a line: its name, as in
# docs/observables.md, then a value in a stable form. Needs a POSIX shell, cat,
# env, id, ls, readlink, sed, sort, stat, tr, uname. Run as a builder's script.

status() { sed -n "s/^$1:[[:space:]]*//p" /proc/self/status; }

# Of the builder itself.
echo "user $(id -u):$(id -g)"
echo "groups $(id -G)"
echo "user-map $(tr -s ' ' ' ' < /proc/self/uid_map | tr '\n' ';')"
echo "process pid=$$ parent=$PPID"
echo "cwd $(readlink /proc/self/cwd)"
echo "umask $(umask)"
env | sort | sed 's/^/environment /'
sed 1d /proc/self/limits | sed 's/   */ /g; s/ *$//; s/^/limits /'
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
  echo "capabilities $set $(status $set)"
done
echo "no-new-privileges $(status NoNewPrivs)"
echo "seccomp $(status Seccomp)"
for set in SigBlk SigIgn; do
  echo "signals $set $(sh -c "sed -n 's/^$set:[[:space:]]*//p' /proc/self/status")"
done
echo "out-of-memory-preference $(cat /proc/self/oom_score_adj)"
# What readlink itself has open besides comes and goes; the shell may hold its
# script open, but never passes that on.
for fd in 0 1 2 3 4 5 6 7 8 9; do
  target=$(readlink /proc/self/fd/$fd)
  case $fd,$target in
    1,*|*,) ;;
    *) echo "descriptors $fd ${target%%:*}" ;;
  esac
done
echo "descriptors 1 $(readlink /proc/$$/fd/1 | sed 's/:.*//')"
(: < /dev/tty) 2> /dev/null && echo "terminal yes" || echo "terminal no"

# Of the file system.
ls -A / | sed 's|^|root-entries |'
for place in / /build /out /tmp /dev/shm /in /src /sysroot /toolchain; do
  echo "places $place $(stat -c '%A %u:%g' $place)"
done
while read -r _ _ _ _ place options _; do
  kept=
  for option in ro rw nosuid nodev noexec; do
    case ",$options," in *",$option,"*) kept="$kept $option" ;; esac
  done
  echo "mounts $place$kept"
done < /proc/self/mountinfo | sort
ls -A /dev | sed 's|^|devices |'
for place in /tmp /dev/shm; do
  echo "scratch-size $place $(stat -f -c '%b*%S' $place)"
done
for input in /src/* /in/*/*; do
  [ -e "$input" ] && echo "inputs $input $(stat -c '%A %u:%g %s %Y' "$input")"
done
[ -e /sys ] && echo "sys yes" || echo "sys no"

# Of the kernel's namespaces.
echo "host-name $(uname -n)"
sed 1,2d /proc/net/dev | sed 's/:.*//; s/ //g; s/^/interfaces /'
echo "routes $(sed 1d /proc/net/route | wc -l)"
echo "unix-sockets $(sed 1d /proc/net/unix | wc -l)"
echo "shared-memory-segments $(sed 1d /proc/sysvipc/shm | wc -l)"
sed 's/^[0-9]*:[^:]*:/cgroup-paths /' /proc/self/cgroup | sort -u
(echo 1 > /proc/sys/kernel/core_pattern) 2> /dev/null && echo "sysctl writable" || echo "sysctl read-only"
(echo 1 > /proc/self/comm) 2> /dev/null && echo "own-proc writable" || echo "own-proc read-only"

# Free: printed so that each has its line in the list.
echo "kernel-release $(uname -r)"
echo "kernel-version $(uname -v)"
echo "machine $(uname -m)"
echo "domain-name $(cat /proc/sys/kernel/domainname)"
echo "kernel-command-line $(cat /proc/cmdline)"
echo "processors $(status Cpus_allowed_list)"
echo "memory $(sed -n 's/MemTotal:[[:space:]]*//p' /proc/meminfo)"
echo "time $(cat /proc/uptime)"
echo "load $(cat /proc/loadavg)"
echo "boot-id $(cat /proc/sys/kernel/random/boot_id)"
echo "address-space $(sed -n '/\[stack\]/p' /proc/self/maps)"
echo "group-lines $(status Groups)"
echo "login-id $(cat /proc/self/loginuid 2> /dev/null)"
echo "security-label $(tr -d '\0' < /proc/self/attr/current 2> /dev/null)"
echo "core-filter $(cat /proc/self/coredump_filter 2> /dev/null)"
echo "keys $(cat /proc/keys 2> /dev/null | wc -l)"
echo "niceness $(sed 's/.*) //' /proc/self/stat | { read -r line; set -- $line; echo "${17}"; })"
echo "bubblewrap $(tr '\0' ' ' < /proc/1/cmdline | sed -n '1s/ .*//p')"
echo "file-systems $(stat -f -c '%t' / /build /out | tr '\n' ' ')"
echo "store-place $(sed -n 's|^[^ ]* [^ ]* [^ ]* \([^ ]*\) / .*|\1|p' /proc/self/mountinfo)"
echo "inode-numbers $(stat -c '%d:%i:%h:%b' / /build | tr '\n' ' ')"
echo "directory-order $(ls -U /bin | tr '\n' ' ')"
echo "proc-entries $(ls /proc | sed '/^[0-9]/d' | tr '\n' ' ')"
ls /proc/sys/* | wc -l | sed 's/^/sysctl-values /'
echo "speculation $(status Speculation_Store_Bypass)"
