# What this toolchain calls its programs; kiln.sh reads it, `triple` is set.
# Every toolchain has such a file at /toolchain/share/kiln/tools.sh, with the
# same names, so that no recipe asks which compiler it is built with.

target_cc=$triple-clang
target_cxx=$triple-clang++
target_ld=ld.lld
target_ar=llvm-ar
target_nm=llvm-nm
target_ranlib=llvm-ranlib
target_objcopy=llvm-objcopy
target_strip=llvm-strip
# Compiles for the build platform, where the root has its headers.
host_cc=clang
# Has the compiler accept options that it has no use for.
cc_lenient=-Qunused-arguments
# The same in the words of the kernel's makefiles.
kernel_tools=LLVM=1
