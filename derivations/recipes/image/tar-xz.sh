# `+` asks for xz's block format even with one thread, so that the bytes do not
# depend on how many there are.
xz -6 -T "+$KILN_JOBS" --block-size=16MiB < /in/rootfs/rootfs.tar > /out/rootfs.tar.xz
