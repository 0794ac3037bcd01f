# gcc for one target, with its runtime as a second output. The target's libc is
# not needed for either, its headers are.
. /in/recipe/host.sh
. /in/recipe/unpack.sh
triple=$KILN_TARGET-linux-musl

# It compares a document with its source, both of which Debian took out.
sed -i '/^s-tm-texi: build/,/^$/{/^\t/d; s/^s-tm-texi:.*/&\n\ttouch $@/}' /build/gcc/gcc/Makefile.in
# A build without checks runs no test, and asks for the directory of tests.
mkdir -p /build/gcc/gcc/testsuite/selftests

mkdir /build/o
cd /build/o
# By this name it shows in `gcc -v`.
../gcc/configure \
    --build="$host" --host="$host" --target="$triple" \
    --prefix=/toolchain --with-sysroot=/sysroot --with-build-sysroot=/sysroot \
    --with-gxx-include-dir=/sysroot/usr/include/c++ \
    --with-gmp=/in/gcc-math --with-mpfr=/in/gcc-math --with-mpc=/in/gcc-math --without-isl --without-zstd \
    --enable-languages=c,c++ --enable-default-pie --enable-checking=release \
    --disable-bootstrap --disable-libatomic --disable-libcc1 --disable-libgomp --disable-libitm \
    --disable-libquadmath --disable-libsanitizer --disable-libssp --disable-libstdcxx --disable-libvtv \
    --disable-lto --disable-multilib --disable-nls --disable-plugin --disable-shared --disable-werror
build all-gcc all-target-libgcc
build install-gcc install-target-libgcc DESTDIR=/build/image

# The runtime goes into the sysroot, where this compiler looks too.
mkdir -p /out/out /out/libgcc/usr/lib
mv /build/image/toolchain/* /out/out/
cd "/out/out/lib/gcc/$triple"/*
mv -- *.a *.o /out/libgcc/usr/lib/
# Debug lines hold the place of this build.
"$triple-strip" -g -D /out/libgcc/usr/lib/*

cd /out/out
rm -rf include lib64 share "lib/gcc/$triple"/*/install-tools libexec/gcc/"$triple"/*/install-tools
find . -name '*.la' -exec rm {} +
# The compiler is also installed under its full version.
for full in "bin/$triple-gcc"-[0-9]*; do ln -sf "$triple-gcc" "$full"; done
ln -sf "$triple-g++" "bin/$triple-c++"
ln -s "$triple-gcc" "bin/$triple-cc"
mkdir -p share/kiln
cp /in/recipe/tools.sh share/kiln/
