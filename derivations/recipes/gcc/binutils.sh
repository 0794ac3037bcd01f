# binutils for one target.
. /in/recipe/host.sh
triple=$KILN_TARGET-linux-musl

mkdir /build/o
cd /build/o
/src/configure \
    --build="$host" --host="$host" --target="$triple" \
    --prefix=/toolchain --with-sysroot=/sysroot \
    --enable-deterministic-archives --disable-multilib --disable-nls --disable-plugins \
    --disable-werror --disable-gdb --disable-gdbserver --disable-gprof --disable-gprofng \
    --disable-libdecnumber --disable-readline --disable-sim --without-debuginfod --without-msgpack \
    --without-system-zlib --without-zstd
build
build install DESTDIR=/build/image

mv /build/image/toolchain/* /out/
rm -rf /out/include /out/lib /out/share
# In the target's own directory stand the same programs once more.
for program in "/out/$triple/bin"/*; do
    name=${program##*/}
    cmp "$program" "/out/bin/$triple-$name"
    ln -sf "../../bin/$triple-$name" "$program"
done
ln -sf "$triple-ld" "/out/bin/$triple-ld.bfd"
