# Sourced by recipes: where the source is, and what each target is called.
# Sets src, triple, linux_arch and prefix_maps, and what the toolchain's file
# sets: target_cc and the like, host_cc, kernel_tools.

triple=$KILN_TARGET-linux-musl
case $KILN_TARGET in
    x86_64) linux_arch=x86 ;;
    aarch64) linux_arch=arm64 ;;
    *) echo "no recipe for target $KILN_TARGET" >&2; exit 1 ;;
esac

# Not every build has a toolchain.
if [ -e /toolchain/share/kiln/tools.sh ]; then . /toolchain/share/kiln/tools.sh; fi

# A recipe with patches builds from a copy, any other from /src itself.
src=/src
if [ -d /in/recipe/patches ] && [ ! -d /build/src ]; then
    cp -R /src /build/src
    chmod -R u+w /build/src
fi
if [ -d /build/src ]; then src=/build/src; fi
if [ -d /in/recipe/patches ]; then
    for patch in /in/recipe/patches/*.patch; do
        patch -d "$src" -p1 --no-backup-if-mismatch < "$patch"
    done
    # All equally old, as in /src: a newer configure.ac would call for autoconf.
    find "$src" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
fi

# Neither place may show in what is built. The last map that fits is used.
# shellcheck disable=SC2034
prefix_maps="-ffile-prefix-map=/build=. -ffile-prefix-map=$src=."
