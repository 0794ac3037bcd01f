# busybox, static: defconfig with our fragment over it.
. /in/recipe/kiln.sh

# kconfig writes the date of the configuration, local time, into the banner and into
# `config`; it asks gmtime, but ctime then overwrites what that returned.
export TZ=UTC0

# clang takes the const pointer trick of busybox at its word and never reloads
# the pointer, which breaks awk on aarch64: BB_GLOBAL_CONST= turns it off.
busybox_make() {
    make -C "$src" O=/build/o HOSTCC="$host_cc" CC="$target_cc" LD="$target_ld" AR="$target_ar" NM="$target_nm" \
        OBJCOPY="$target_objcopy" STRIP="$target_strip" ARCH="$KILN_TARGET" -j"$KILN_JOBS" \
        EXTRA_CFLAGS="-DBB_GLOBAL_CONST= $cc_lenient $prefix_maps" "$@"
}

mkdir /build/o
busybox_make defconfig
sed -n 's/^\(CONFIG_[A-Z0-9_]*\)=.*/\1/p; s/^# \(CONFIG_[A-Z0-9_]*\) is not set$/\1/p' \
    /in/recipe/busybox.config > /build/names
sed 's/.*/\/^&=\/d; \/^# & is not set$\/d/' /build/names > /build/drop.sed
sed -f /build/drop.sed /build/o/.config > /build/config
grep -E '^(CONFIG_|# CONFIG_.* is not set$)' /in/recipe/busybox.config >> /build/config
cp /build/config /build/o/.config
# A plain newline takes an option's default where the fragment opened new questions.
yes '' | busybox_make oldconfig > /dev/null
grep -E '^(CONFIG_|# CONFIG_.* is not set$)' /in/recipe/busybox.config | while read -r line; do
    grep -qxF -e "$line" /build/o/.config || { echo "not in effect: $line" >&2; exit 1; }
done

busybox_make busybox
busybox_make CONFIG_PREFIX=/out install
mkdir -p /out/usr/share/busybox
cp /build/o/.config /out/usr/share/busybox/config
