# libstdc++ for one target, static only.
. /in/recipe/unpack.sh
. /in/recipe/kiln.sh

mkdir /build/o
cd /build/o
/build/gcc/libstdc++-v3/configure \
    --build="$KILN_BUILD_PLATFORM-pc-linux-gnu" --host="$triple" --prefix=/usr \
    --with-gxx-include-dir=/usr/include/c++ \
    --disable-libstdcxx-pch --disable-multilib --disable-nls --disable-shared --disable-werror \
    CC="$target_cc" CXX="$target_cxx" AR="$target_ar" NM="$target_nm" RANLIB="$target_ranlib" \
    CFLAGS="-O2 -fPIC $prefix_maps" CXXFLAGS="-O2 -fPIC $prefix_maps"
make -j"$KILN_JOBS"
make install DESTDIR=/build/image

mkdir -p /out/usr/lib
mv /build/image/usr/include /out/usr/
find /build/image/usr -name '*.a' -exec mv {} /out/usr/lib/ \;

# A library that does not link or has no exceptions shows here, not in a user.
cat > /build/hello.cc <<'X'
#include <iostream>
#include <stdexcept>
#include <string>
int main() {
    try { throw std::runtime_error("caught"); }
    catch (const std::exception &e) { std::cout << std::string(e.what()) << std::endl; }
}
X
"$target_cxx" -std=c++20 -static -isystem /out/usr/include/c++ -isystem "/out/usr/include/c++/$triple" \
    -L/out/usr/lib -o /build/hello /build/hello.cc
if [ "$KILN_TARGET" = "$KILN_BUILD_PLATFORM" ]; then [ "$(/build/hello)" = caught ]; fi
