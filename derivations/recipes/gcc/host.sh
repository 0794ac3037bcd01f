# Sourced where the toolchain itself is built: programs that run on the build
# platform, in any root. Sets host, and what configure scripts read.

export PATH="$PATH:/in/hostcc/bin"
# Said aloud, or gmp would look at this machine's very processor.
host=$KILN_BUILD_PLATFORM-pc-linux-gnu
export CC=clang CXX=clang++ AR=llvm-ar NM=llvm-nm RANLIB=llvm-ranlib STRIP=llvm-strip
export CFLAGS='-O2 -g0 -w -ffile-prefix-map=/build=.' CXXFLAGS='-O2 -g0 -w -ffile-prefix-map=/build=.'
# --static is libtool's word for -static, which it keeps for its own libraries.
export LDFLAGS='-static --static -s'
# make without documents, which Debian's archives do not hold as a whole.
build() { make -j"$KILN_JOBS" MAKEINFO=true "$@"; }
