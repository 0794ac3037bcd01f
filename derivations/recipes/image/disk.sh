# An ext4 or ext3 file system without a partition table, filled from the tar.
tar=/in/rootfs/rootfs.tar
out=/out/disk.$IMAGE_FS

size=${KILN_IMAGE_SIZE:-}
if [ -z "$size" ]; then
    # Twice the content, for blocks half filled, and room for inodes, journal
    # and the system's first writes; in steps of 4 MiB.
    step=4194304
    size=$(( ($(stat -c %s "$tar") * 2 + 33554432 + step - 1) / step * step ))
fi
truncate -s "$size" "$out"

# Only the last -E counts, so all of them are in one.
export MKE2FS_CONFIG=/in/recipe/mke2fs.conf
mke2fs -q -F -t "$IMAGE_FS" -d "$tar" -L "${KILN_IMAGE_LABEL:-}" -U "$KILN_SEED_UUID" \
    -E "hash_seed=$KILN_SEED_UUID,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" \
    "$out"

# mke2fs records whether `char` is signed where it runs, since hashes of names depend
# on it. Kernels take either: say "signed" whatever built this.
debugfs -w -R 'set_super_value flags 1' "$out"

# A full fs or an odd tar must not become an image that only looks right.
e2fsck -fn "$out"
