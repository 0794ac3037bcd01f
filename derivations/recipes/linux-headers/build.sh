# The kernel's user headers. `make headers` does it all but the copying, for
# which headers_install would want rsync.
. /in/recipe/kiln.sh
# shellcheck disable=SC2086
make -C "$src" O=/build/o ARCH="$linux_arch" $kernel_tools -j"$KILN_JOBS" headers
mkdir -p /out/usr
cd /build/o/usr
find include -name '*.h' | sort | tar -cf - -T - | tar -xf - -C /out/usr
