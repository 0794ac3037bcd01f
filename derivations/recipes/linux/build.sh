# The kernel, from allnoconfig and our fragments.
. /in/recipe/kiln.sh

export KBUILD_BUILD_TIMESTAMP='1980-01-02 00:00:00 UTC'
export KBUILD_BUILD_USER=kiln KBUILD_BUILD_HOST=kiln KBUILD_BUILD_VERSION=1
# There is no C library of the target here. Without USERCFLAGS kconfig finds that of
# the build root, where the build platform is the target, and says so in `config`.
kernel_make() {
    # shellcheck disable=SC2086
    make -C "$src" O=/build/o ARCH="$linux_arch" $kernel_tools LOCALVERSION= -j"$KILN_JOBS" \
        KCFLAGS="$prefix_maps" KAFLAGS="$prefix_maps" USERCFLAGS=-nostdlibinc "$@"
}

mkdir /build/o
cat /in/recipe/common.config "/in/recipe/$KILN_TARGET.config" > /build/fragment
kernel_make allnoconfig KCONFIG_ALLCONFIG=/build/fragment

# kconfig drops without a word what it does not know or whose needs are not met.
while read -r line; do
    case $line in CONFIG_*=n) line="# ${line%=n} is not set" ;; esac
    case $line in '# CONFIG_'*|CONFIG_*) ;; *) continue ;; esac
    if grep -qxF -e "$line" /build/o/.config; then continue; fi
    # An option without a line is off too.
    case $line in '# CONFIG_'*)
        name=${line#\# }
        if ! grep -q "^${name%% *}=" /build/o/.config; then continue; fi ;;
    esac
    echo "not in effect: $line" >&2
    echo "$line" >> /build/missing
done < /build/fragment
[ ! -e /build/missing ]

case $KILN_TARGET in
    x86_64) image=arch/x86/boot/bzImage ;;
    aarch64) image=arch/arm64/boot/Image ;;
esac
kernel_make "${image##*/}"
cd /build/o
cp "$image" vmlinux System.map /out/
cp .config /out/config
chmod -x /out/*
