# One client for the machine, and a server's library for each architecture that
# could be emulated: that one has no headers here, and needs none.
cd /in/recipe
warnings='-Wall -Wextra -Werror'
map=-ffile-prefix-map=/in/recipe=.

# shellcheck disable=SC2086
clang -std=gnu17 -O2 $warnings $map -static -fuse-ld=lld -o /out/client client.c
for arch in x86_64 aarch64; do
    # shellcheck disable=SC2086
    clang --target=$arch-linux-gnu -std=gnu17 -O2 $warnings $map -ffreestanding -fno-stack-protector \
        -fPIC -shared -nostdlib -fuse-ld=lld -Wl,-z,now -o /out/server-$arch.so server.c
done
