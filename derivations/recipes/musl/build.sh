# Static and shared libc for one target.
. /in/recipe/kiln.sh

# No -g* here: musl would add unwind tables that name the build directory.
"$src/configure" \
    --target="$triple" --prefix=/usr --syslibdir=/lib --disable-wrapper \
    CC="$target_cc" AR="$target_ar" RANLIB="$target_ranlib" LIBCC="$($target_cc -print-libgcc-file-name)" \
    CFLAGS="-O2 $prefix_maps"
make -j"$KILN_JOBS" ARFLAGS=rcD
make DESTDIR=/out install

# The loader is the real file and libc.so the link, so that a rootfs takes /lib alone.
mv /out/usr/lib/libc.so "/out/lib/ld-musl-$KILN_TARGET.so.1"
ln -s "../../lib/ld-musl-$KILN_TARGET.so.1" /out/usr/lib/libc.so
