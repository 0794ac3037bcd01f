# gmp, mpfr and mpc into one prefix. Nothing is mounted there in later builds
# but at /in/gcc-math, so that is the prefix.
. /in/recipe/host.sh
prefix=/in/gcc-math

# library NAME OPTION...: builds and installs one of them
library() {
    name=$1
    shift
    cp -R "/in/$name" "/build/$name"
    chmod -R u+w "/build/$name"
    cd "/build/$name"
    # Debian takes documents out of the archive, not out of the build.
    if [ ! -e doc/Makefile.in ]; then
        mkdir -p doc
        printf 'all check install clean:\n' > doc/Makefile.in
    fi
    # All equally old again: what is newer calls for autoconf.
    find . -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    ./configure --build="$host" --host="$host" --prefix="$prefix" --disable-shared --with-pic "$@"
    build
    build install DESTDIR=/build/image
    # Libtool's notes name the place where nothing is yet.
    rm -f /build/image"$prefix"/lib/*.la
}

# The next one finds those before it as installed in /build/image.
found=/build/image$prefix
library gmp
library mpfr --with-gmp="$found"
library mpc --with-gmp="$found" --with-mpfr="$found"

cp -R "$found/include" "$found/lib" /out/
rm -rf /out/lib/pkgconfig
