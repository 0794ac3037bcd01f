# Sourced: unpacks the archive in Debian's archive of gcc to /build/gcc, but for
# test suites and languages that are not built.
mkdir /build/gcc
tar -C /build/gcc --strip-components=1 -xf /src/gcc-*.tar.xz \
    --exclude='*/gcc/testsuite/*' --exclude='*/gcc/ada/*' --exclude='*/libgo/*'
# All equally old, so that nothing generated is generated again.
find /build/gcc -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
