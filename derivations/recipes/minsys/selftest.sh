#!/bin/sh
# Runs in the guest: does each tool give what it should? A busybox that builds
# can still have tools that crash. Prints `kiln: selftest ok N`, or a line
# `kiln: selftest FAIL name` for each failure.

dir=$(mktemp -d) && cd "$dir" || exit 1
count=0
failed=0

# same NAME EXPECTED ACTUAL
same() {
    count=$((count + 1))
    [ "$2" = "$3" ] && return
    failed=$((failed + 1))
    echo "kiln: selftest FAIL $1"
    printf 'expected: %s\n  actual: %s\n' "$2" "$3"
}

# says NAME EXPECTED COMMAND...: the command's output and its success
says() {
    name=$1 expected=$2
    shift 2
    actual=$("$@") || actual="status $?: $actual"
    same "$name" "$expected" "$actual"
}

lines() { printf '%s\n' "$@"; }

# The shell itself.
says sh-arithmetic 55 sh -c 'i=0 s=0; while [ $i -lt 10 ]; do i=$((i+1)); s=$((s+i)); done; echo $s'
says sh-expansion 'b.tar a/b.tar b' sh -c 'x=a/b.tar.gz; y=${x##*/}; echo "${y%.*} ${x%.gz} ${y%%.*}"'
says sh-case yes sh -c 'case abc in a?c) echo yes;; *) echo no;; esac'
says sh-heredoc 'a 3' sh -c 'cat <<X
a $((1+2))
X'
says sh-trap bye sh -c 'trap "echo bye" EXIT; exit 0'
says sh-pipe-status 3 sh -c 'true | (exit 3) || echo $?'
says sh-function '2 y' sh -c 'f() { local a=$2; echo $# $a; }; f x y'
says sh-wait 7 sh -c '(exit 7) & wait $! || echo $?'
says sh-background-kill 143 sh -c 'sleep 60 & kill $!; wait $! 2> /dev/null; echo $?' 2> /dev/null
says printf '0x1f|  7|a b|%' printf '%#x|%3d|%s|%%' 31 7 'a b'
says test-files ok sh -c 'touch f; chmod 640 f; [ -f f ] && [ -r f ] && [ ! -x f ] && [ ! -d f ] && echo ok'
says expr 42 expr 6 '*' 7
says seq '1 3 5 ' sh -c "seq 1 2 5 | tr '\n' ' '"
says bc 3.333 sh -c 'echo "scale=3; 10/3" | bc'
says dc 20 dc -e '4 5 * p'

# Text.
lines 'b 2 x' 'a 10 y' 'c 1 z' 'a 9 w' > table
says awk-sum 22 awk '{ s += $2 } END { print s }' table
says awk-array 'a 19,b 2,c 1,' sh -c "awk '{ n[\$1] += \$2 } END { for (k in n) print k, n[k] }' table | sort | tr '\n' ,"
says awk-printf '3.14|00042|ff' awk 'BEGIN { printf "%.2f|%05d|%x", atan2(0,-1), 42, 255 }'
says awk-functions 'HELLO 5 3 ell' awk 'function f(s) { return toupper(s) } BEGIN { print f("hello"), length("hello"), index("hello","l"), substr("hello",2,3) }'
says awk-regexp 'foo-bar-baz 2' awk 'BEGIN { s = "foo bar baz"; n = gsub(/ +/, "-", s); print s, n }'
says awk-fields '3:c' awk -F, 'BEGIN { $0 = "a,b,c"; print NF ":" $NF }'
says awk-getline 'x y' awk 'BEGIN { "echo x" | getline a; while (("echo y") | getline b) ; print a, b }'
says sed-substitute 'c-b-a' sh -c "echo a-b-c | sed 's/\(.\)-\(.\)-\(.\)/\3-\2-\1/'"
says sed-address 'a 10 y' sed -n '2p' table
says sed-in-place 'B 2 x' sh -c "cp table t; sed -i '1s/b/B/' t; head -n 1 t"
says sed-program '4 3 2 1 ' sh -c "seq 4 | sed -n '1!G;h;\$p' | tr '\n' ' '"
says sed-extended 'v=1.2' sh -c "echo version1.2 | sed -E 's/^[a-z]+([0-9.]+)\$/v=\1/'"
says sort-numeric 'c 1 z,b 2 x,a 9 w,a 10 y,' sh -c "sort -n -k 2 table | tr '\n' ,"
says sort-reverse-unique 'c b a ' sh -c "cut -d ' ' -f 1 table | sort -ru | tr '\n' ' '"
says uniq '2 a,1 b,' sh -c "printf 'a\na\nb\n' | uniq -c | sed 's/^ *//' | tr '\n' ,"
says tr-ranges HELLO sh -c 'echo hello | tr a-z A-Z'
says cut bd sh -c 'echo abcd | cut -c 2,4'
says paste 'a:1,b:2,' sh -c "printf 'a\nb\n' > p; printf '1\n2\n' | paste -d : p - | tr '\n' ,"
says head-tail 3 sh -c 'seq 9 | head -n 3 | tail -n 1'
says wc '4 12' sh -c "wc -l -w < table | awk '{ print \$1, \$2 }'"
says rev cba sh -c 'echo abc | rev'
says fold 'ab,cd,' sh -c "printf abcd | fold -w 2 | tr '\n' ,; echo ,"
says nl '1 x' sh -c "echo x | nl | awk '{ print \$1, \$2 }'"
says grep-count 2 grep -c '^a' table
says grep-extended-only '10,9,' sh -c "grep -oE 'a [0-9]+' table | cut -d ' ' -f 2 | tr '\n' ,"
says grep-invert 'c 1 z' grep -v '[ab]' table
says grep-fixed 'a.c' sh -c "printf 'abc\na.c\n' | grep -F a.c"
says comm b sh -c "printf 'a\nb\n' > l; printf 'b\nc\n' > r; comm -12 l r"
says diff '-a,+c,' sh -c "diff -U 0 l r | grep -E '^[-+][a-z]' | tr '\n' ,"
says patch c sh -c 'echo a > old; echo c > new; diff -u old new > d; patch old d > /dev/null; cat old'
says od '61 62' sh -c "printf ab | od -An -tx1 | sed 's/^ *//'"
says hexdump 6162 sh -c "printf ab | hexdump -ve '1/1 \"%02x\"'"
says xxd 6869 sh -c 'printf hi | xxd -p'
says base64 'aGVsbG8= hello' sh -c 'x=$(printf hello | base64); echo "$x $(echo "$x" | base64 -d)"'
says strings kiln sh -c "printf '\001\002kiln\000' | strings"
says vi 'new 1' sh -c "echo 'old 1' > v; vi -c '%s/old/new/' -c 'wq' v > /dev/null < /dev/null; cat v"
says ed z sh -c "echo y > e; printf '1s/y/z/\nw\nq\n' | ed e > /dev/null; cat e"

# Files.
mkdir -p tree/a/b
echo one > tree/a/1
echo two > tree/a/b/2
ln -s a/1 tree/link
ln tree/a/1 tree/hard
chmod 4711 tree/a/1
says find 'tree/a/1,tree/a/b/2,tree/hard,' sh -c "find tree -type f | sort | tr '\n' ,"
says find-exec two sh -c "find tree -name 2 -exec cat {} \;"
says find-print0 3 sh -c 'find tree -type f -print0 | xargs -0 -n 1 echo | wc -l'
says stat '4711 2 root' stat -c '%a %h %U' tree/a/1
says readlink a/1 readlink tree/link
says realpath "$dir/tree/a/1" realpath tree/link
says cp-archive "4711 a/1" sh -c 'cp -a tree copy; echo $(stat -c %a copy/a/1) $(readlink copy/link)'
says du 0 sh -c ': > z; du -k z | cut -f 1'
says dd 'bcd' sh -c 'printf abcdef | dd bs=1 skip=1 count=3 2> /dev/null'
says dd-seek 5 sh -c 'dd if=/dev/zero of=sparse bs=1 seek=4 count=1 2> /dev/null; stat -c %s sparse'
says truncate 1000 sh -c 'truncate -s 1000 tr; stat -c %s tr'
says cmp differ sh -c 'cmp -s l r || echo differ'
says split 'xaa xab' sh -c 'seq 3 | split -l 2; echo xa*'
says install '750' sh -c 'install -D -m 750 table i/j; stat -c %a i/j'
says mknod 'character special file 1 3' sh -c "mknod n c 1 3; stat -c '%F %t %T' n"
says mkfifo hi sh -c 'mkfifo q; (echo hi > q &); cat q'
says tee x sh -c 'echo x | tee y > /dev/null; cat y'
says basename-dirname 'c.h a/b' sh -c 'echo $(basename a/b/c.h) $(dirname a/b/c.h)'
says chown '12 34' sh -c "touch o; chown 12:34 o; stat -c '%u %g' o"

# Archives and sums.
seq 5000 > numbers
for z in gzip bzip2; do
    says $z ok sh -c "$z -c numbers > n.z; $z -dc n.z | cmp - numbers && echo ok"
done
# busybox only unpacks xz; these bytes are `echo hello | xz --check=crc32`.
says unxz hello sh -c "printf '\375\067\172\130\132\000\000\001\151\042\336\066\002\000\041\001\026\000\000\000\164\057\345\243\001\000\005\150\145\154\154\157\012\000\000\000\040\060\072\066\000\001\032\006\305\352\310\171\220\102\231\015\001\000\000\000\000\001\131\132' | unxz"
says tar 'one two a/1 4711' sh -c 'tar -czf t.tgz tree; mkdir x; tar -xzf t.tgz -C x; cd x/tree; echo $(cat a/1) $(cat a/b/2) $(readlink link) $(stat -c %a a/1)'
says tar-list tree/a/b/2 sh -c 'tar -tf t.tgz | grep 2$'
says cpio two sh -c '(cd tree && find . | sort | cpio -o -H newc) > c.cpio 2> /dev/null; mkdir cp; cd cp; cpio -id < ../c.cpio 2> /dev/null; cat a/b/2'
says md5sum 5d41402abc4b2a76b9719d911017c592 sh -c "printf hello | md5sum | cut -d ' ' -f 1"
says sha1sum aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d sh -c "printf hello | sha1sum | cut -d ' ' -f 1"
says sha256sum 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 sh -c "printf hello | sha256sum | cut -d ' ' -f 1"
says sha512sum 9b71d224bd62f378 sh -c 'printf hello | sha512sum | cut -c 1-16'
says sha3sum 3338be694f50c5f3 sh -c 'printf hello | sha3sum -a 256 | cut -c 1-16'
says cksum 3287646509 sh -c "printf hello | cksum | cut -d ' ' -f 1"
says crc32 3610a686 sh -c 'printf hello | crc32'

# The system.
says uname Linux uname -s
says hostname kiln hostname
says id 'uid=0(root) gid=0(root)' sh -c 'id | cut -d " " -f 1,2'
says date '1980-01-02 00:00' date -u -d @315619200 '+%Y-%m-%d %H:%M'
says ps 1 sh -c "ps -o pid,comm | awk '\$1 == 1 { print \$1 }'"
says mount 'tmpfs' sh -c "mkdir m; mount -t tmpfs none m && df m | awk 'END { print \$6 }' | sed 's|.*/m|tmpfs|'; umount m"
says loopback '1 packets' sh -c "ping -c 1 -W 2 127.0.0.1 | grep -o '1 packets' | head -n 1"
# An emulated guest may take long until its server listens, so a client that is
# refused tries again; and what is served is a file, which is ready from the first.
echo hi > served
says nc hi sh -c 'nc -l -p 7777 -s 127.0.0.1 < served & for _ in $(seq 60); do nc 127.0.0.1 7777 < /dev/null 2> /dev/null && break; sleep 1; done'
says ip lo sh -c "ip -o link show lo | awk -F ': ' '{ print \$2 }'"
says env b env -i A=b sh -c 'echo $A'
says timeout 143 sh -c 'timeout 1 sleep 9; echo $?' 2> /dev/null
says nice 5 nice -n 5 nice
says su root su -c 'id -un' root
says httpd ok sh -c 'mkdir w; echo ok > w/index.html; httpd -p 127.0.0.1:8080 -h w; wget -qO - http://127.0.0.1:8080/; killall httpd 2> /dev/null || true'

cd / && rm -rf "$dir"
[ $failed = 0 ] || exit 1
echo "kiln: selftest ok $count"
