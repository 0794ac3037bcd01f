# zstd's output is the same for any number of workers, given at least one.
zstd -q -15 -T"$KILN_JOBS" < /in/rootfs/rootfs.tar > /out/rootfs.tar.zst
