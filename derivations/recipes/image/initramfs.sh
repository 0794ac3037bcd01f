# The tar's entries, in their order, as a newc archive. bsdtar numbers inodes as
# they come; the tar holds no hard links, so each entry is its own. It ends the
# names of directories in a slash, which no other cpio does: -s takes it off
# (S: not off the targets of links).
bsdtar --numeric-owner --format newc -s ',/$,,S' -cf /build/initramfs.cpio @/in/rootfs/rootfs.tar
gzip -n9 < /build/initramfs.cpio > /out/initramfs.cpio.gz
