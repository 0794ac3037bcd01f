# Run in the sandbox of an emulated builder, by `resident.rs`: what a resident
# compiler does, beside the same compiler alone.
cd /tmp
cc=$KILN_TARGET-linux-musl-clang

servers() { cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -o "qemu -tb-[s]ize 512 -0 [^ ]*$1" | wc -l; }
# A server refuses who has other limits, and the compiler then runs alone.
alone() { (ulimit -S -n 1000; "$@"); }
fail() { echo "FAILED: $*"; exit 1; }

cat > x.c <<'C'
typedef unsigned long size;
static const char *const words[] = { "one", "two", "three" };
double mean(const double *from, size count)
{
    double sum = 0;
    for (size i = 0; i < count; i++) sum += from[i];
    return count ? sum / count : 0.5;
}
const char *word(size i) { return i < 3 ? words[i] : __FILE__; }
unsigned popcount(unsigned long long bits) { unsigned n = 0; while (bits) bits &= bits - 1, n++; return n; }
int big(int i) { switch (i) { case 1: return 7; case 2: return 9; case 5: return 11; default: return big(i / 2); } }
C

[ "$(servers clang)" = 0 ] || fail "there is a server before anybody asked"
for how in "-O0 -g" -O2 "-Os -S" "-E -dD"; do
    for round in 1 2 3; do $cc $how -c x.c -o served$round || fail "$how"; done
    [ "$(servers clang)" != 0 ] || fail "there is no server"
    alone $cc $how -c x.c -o alone || fail "alone, $how"
    for round in 1 2 3; do cmp served$round alone || fail "$how, the ${round}th time"; done
done

$cc -O2 -c x.c -o reference
seq 12 | xargs -P 6 -I{} $cc -O2 -c x.c -o many{}
for i in $(seq 12); do cmp many$i reference || fail "at one time"; done

echo 'int f( {' > bad.c
$cc -c bad.c -o bad.o 2> said && fail "accepts what is wrong"
grep -q 'error: expected' said || fail "does not say what is wrong"
[ ! -e bad.o ] || fail "leaves what is wrong"

[ "$(echo 'KILN and $X' | sed 's/\$X/__COUNTER__/' | $cc -E -P -x c - | cat)" = "KILN and 0" ] || fail "pipes"
mkdir -p sub inc && echo '#define FOUND 1' > inc/found.h
(cd sub && $cc -c ../x.c -o here.o) && [ -e sub/here.o ] || fail "the working directory"
echo '#include <found.h>' > with.c
CPATH=/tmp/inc $cc -E with.c > preprocessed || fail "the environment"
$cc -E with.c > preprocessed 2>&1 && fail "remembers the environment"
LD_BIND_NOW=1 $cc -O2 -c x.c -o bound.o && cmp bound.o reference || fail "with the loader's variables"
(umask 077; $cc -c x.c -o private.o)
[ "$(stat -c %a private.o)" = 600 ] || fail "the umask"
$cc -c x.c -o public.o
[ "$(stat -c %a public.o)" = 644 ] || fail "remembers the umask"
$cc -E -x c - <&- > nothing 2>&1 && fail "has somebody's standard input"

# Whoever is killed does not go on by way of a server.
mkfifo source
exec 9<>source
$cc -c -x c - -o killed.o <&9 &
sleep 3
kill -9 $!
wait $! && fail "was not killed"
echo 'int x;' >&9
exec 9>&-
sleep 2
[ ! -e killed.o ] || fail "goes on"
$cc -O2 -c x.c -o after && cmp after reference || fail "after somebody was killed"

# A shell starts programs, and becomes one.
sh -c : && [ "$(servers dash)" != 0 ] || fail "there is no server of the shell"
[ "$(sh -c 'echo 1; exec echo 2')" = "1
2" ] || fail "becoming another program"
sh -c 'exec sh -c "exit 7"'
[ $? = 7 ] || fail "how the other program ended"
sh -c 'exec /no/such/program' 2> said
[ $? = 127 ] || fail "becoming what there is not"
grep -q 'not found' said || fail "does not say that there is no such program"
[ "$(sh -c '(echo 1; exit 3); echo $?; echo 2 | sed s/2/3/; x=$(echo 4); echo $x')" = "1
3
3
4" ] || fail "children"
[ "$(sh -c 'trap "echo left" EXIT; exit 5'; echo $?)" = "left
5" ] || fail "traps"
[ -z "$(sh -c 'trap' )" ] || fail "remembers traps"
sh -c 'sleep 600 & echo $! > sleeper'
[ "$(sh -c 'echo on')" = on ] || fail "while something runs on"
kill $(cat sleeper) || fail "what runs on"
sh -c 'ulimit -S -n 500'
[ "$(sh -c 'ulimit -S -n')" = "$(ulimit -S -n)" ] || fail "remembers limits"
sh -c 'exec sh -c "sleep 4; touch late"' &
sleep 2
kill $!
wait $!
sleep 5
[ ! -e late ] || fail "the other program goes on"
(cd sub && sh -c 'cd .. && pwd > sub/where') && [ "$(cat sub/where)" = /tmp ] || fail "changing directories"
[ "$(sh -c pwd)" = /tmp ] || fail "remembers the directory"
printf '#!/bin/sh\nread -r line; echo "$0 $1 $line"\n' > script && chmod +x script
[ "$(echo typed | ./script given)" = "./script given typed" ] || fail "scripts"
echo "resident: ok"
