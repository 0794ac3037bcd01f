# Packs Debian's clang, lld and llvm tools with the libraries they need.
llvm=/usr/lib/llvm-19
major=19
tools='addr2line ar nm objcopy objdump ranlib readelf size strings strip'

mkdir -p /out/bin "/out/lib/clang/$major"
cd /out/bin
cp "$llvm/bin/clang" .
cp "$llvm/bin/lld" .
for link in clang++ clang-cpp "clang-$major" cc c++; do ln -s clang "$link"; done
for link in ld.lld ld; do ln -s lld "$link"; done
for tool in $tools cxxfilt dwarfdump; do
    # Debian's links among the tools (llvm-strip -> llvm-objcopy) stay links.
    real=$(basename "$(readlink -f "$llvm/bin/llvm-$tool")")
    [ -e "$real" ] || cp "$llvm/bin/$real" .
    [ "$real" = "llvm-$tool" ] || ln -s "$real" "llvm-$tool"
done
for tool in $tools; do ln -s "llvm-$tool" "$tool"; done

# Every library but glibc's own, which belongs to the root's loader.
cd /out/lib
for program in /out/bin/*; do
    [ -L "$program" ] || LD_TRACE_LOADED_OBJECTS=1 "$llvm/bin/$(basename "$program")"
done > /tmp/libraries
! grep 'not found' /tmp/libraries
sed -n 's|.* => \(/[^ ]*\) .*|\1|p' /tmp/libraries | sort -u | while read -r library; do
    case ${library##*/} in
        ld-linux*|libc.so*|libdl.so*|libm.so*|libpthread.so*|libresolv.so*|librt.so*) ;;
        *) cp -L "$library" "${library##*/}" ;;
    esac
done
# What is copied from a read-only root is read-only.
chmod -R u+w /out
# An executable's RPATH, unlike a RUNPATH, also holds for what its libraries
# need, so that the libraries stay as they are.
for program in /out/bin/*; do
    # shellcheck disable=SC2016
    [ -L "$program" ] || patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$program"
done

mkdir -p /out/share/kiln
cp /in/recipe/tools.sh /out/share/kiln/

# The compiler's own headers; in Debian `include` is a link out of the tree.
cp -rL "$llvm/lib/clang/$major/include" "/out/lib/clang/$major/include"
# The runtime (builtins, crtbegin, crtend) is made for the target: it is in the sysroot.
ln -s /sysroot/usr/lib/clang "/out/lib/clang/$major/lib"

# Called as TRIPLE-clang, clang reads the .cfg of the normalised triple beside it.
cd /out/bin
for arch in x86_64 aarch64; do
    triple=$arch-linux-musl
    cp /in/recipe/musl.cfg "$arch-unknown-linux-musl.cfg"
    for tool in clang clang++ ld.lld; do ln -s "$tool" "$triple-$tool"; done
    ln -s clang "$triple-cc"
    ln -s clang++ "$triple-c++"
    ln -s ld.lld "$triple-ld"
    for tool in $tools; do ln -s "llvm-$tool" "$triple-$tool"; done
done
