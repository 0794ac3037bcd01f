# Header files only; no compiler is asked for anything.
. /in/recipe/kiln.sh
make -f "$src/Makefile" srcdir="$src" ARCH="$KILN_TARGET" DESTDIR=/out prefix=/usr includedir=/usr/include install-headers
