# compiler-rt's builtins for one target, without its cmake.
. /in/recipe/kiln.sh
cd "$src/compiler-rt/lib/builtins"

# All generic sources but C11 atomics, what needs an unwinder or an executable
# stack, and the files that are not builtins.
ls ./*.c | sed 's|^\./||' | grep -vE \
    '^(apple_versioning|atomic.*|crtbegin|crtend|emutls|enable_execute_stack|eprintf|gcc_personality_v0)\.c$' \
    > /build/generic
case $KILN_TARGET in
    x86_64)
        ls i386/fp_mode.c x86_64/float* cpu_model/x86.c > /build/special ;;
    aarch64)
        # No 80-bit long double there.
        grep -vE 'xf|xc3\.c' /build/generic > /build/t; mv /build/t /build/generic
        ls aarch64/fp_mode.c cpu_model/aarch64.c > /build/special ;;
esac

# A target's own file takes the place of the generic one of the same name.
sed 's|.*/||; s|\.[cS]$|.c|' /build/special | grep -vxF -f - /build/generic > /build/sources
cat /build/special >> /build/sources

compile="$triple-clang -c -O2 -fPIC -std=c11 -ffreestanding -fno-builtin -fno-lto -fvisibility=hidden -fomit-frame-pointer -DVISIBILITY_HIDDEN -Wno-unused-command-line-argument $prefix_maps"
mkdir /build/objects
while read -r file; do
    object=/build/objects/$(basename "$file").o
    echo "$compile -o $object $file"
done < /build/sources > /build/commands

# LSE atomics chosen at run time: one source, a file for each operation, size and order.
if [ "$KILN_TARGET" = aarch64 ]; then
    for op in cas swp ldadd ldclr ldeor ldset; do
        for size in 1 2 4 8 16; do
            [ $op = cas ] || [ $size != 16 ] || continue
            for order in 1 2 3 4 5; do
                echo "$compile -I. -DHAS_ASM_LSE -DL_$op -DSIZE=$size -DMODEL=$order -o /build/objects/$op${size}_$order.o aarch64/lse.S"
            done
        done
    done >> /build/commands
fi

lib=/out/usr/lib/clang/$KILN_TARGET-unknown-linux-musl
mkdir -p "$lib"
for part in crtbegin crtend; do
    echo "$compile -DCRT_HAS_INITFINI_ARRAY -DEH_USE_FRAME_REGISTRY -o $lib/clang_rt.$part.o $part.c" >> /build/commands
done

xargs -P "$KILN_JOBS" -I{} sh -euc '{}' < /build/commands
cd /build/objects
# The order of members is the glob's, which LC_ALL=C fixes.
llvm-ar rcsD "$lib/libclang_rt.builtins.a" ./*.o
