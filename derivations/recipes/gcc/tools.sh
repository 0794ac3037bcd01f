# What this toolchain calls its programs: see the other's file.

target_cc=$triple-gcc
target_cxx=$triple-g++
target_ld=$triple-ld
target_ar=$triple-ar
target_nm=$triple-nm
target_ranlib=$triple-ranlib
target_objcopy=$triple-objcopy
target_strip=$triple-strip
host_cc=/in/hostcc/bin/clang
cc_lenient=
# Objtool is the build platform's, and gets warnings that only gcc knows.
kernel_tools="HOSTCFLAGS=-Wno-unknown-warning-option CROSS_COMPILE=$triple- HOSTCC=/in/hostcc/bin/clang HOSTCXX=/in/hostcc/bin/clang++ HOSTAR=/in/hostcc/bin/llvm-ar HOSTLD=/in/hostcc/bin/ld.lld"
