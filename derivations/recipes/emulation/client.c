/* Takes the place of a resident program: has a server of it do what was asked, and
 * ends as the program did. Where there is no server it starts one; where there can
 * be none it starts the program as if it were not resident.
 *
 * The kernel starts it by binfmt_misc, with flags O and P: the program's path and
 * its argv[0] come before the arguments, and the opened program as AT_EXECFD. What
 * it needs is behind it in its own file (derivations/src/sandbox/resident.rs).
 *
 * What it does not know: which program it stands for. */
#define _GNU_SOURCE
#include "request.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* The end of this program's file: where the parts before it end. */
static struct {
    uint64_t client, emulator, library;
    char magic[16];
} trailer;

/* How this was started. */
static struct {
    int count;
    char **arguments, **environment;
} given;

static char program[4096];

static void fail(const char *doing)
{
    fprintf(stderr, "kiln: %s: %s\n", doing, strerror(errno));
    _exit(126);
}

/* A part of this file, as one of its own. */
static int part(uint64_t from, uint64_t to, unsigned flags)
{
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int memory = memfd_create("resident", flags);
    off_t at = (off_t)from;
    while (self >= 0 && memory >= 0 && (uint64_t)at < to)
        if (sendfile(memory, self, &at, to - (uint64_t)at) <= 0) fail("reading the emulator");
    /* What is open for writing cannot be executed. */
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    int copy = open(path, O_RDONLY | (flags & MFD_CLOEXEC ? O_CLOEXEC : 0));
    if (copy < 0) fail("copying the emulator");
    close(memory);
    close(self);
    return copy;
}

static void emulate(char **arguments, char **environment)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", part(trailer.client, trailer.emulator, MFD_CLOEXEC));
    execve(path, arguments, environment);
    fail("starting the emulator");
}

/* Becomes the program. */
static void alone(void)
{
    char **arguments = calloc((size_t)given.count + 2, sizeof *arguments);
    if (!arguments) fail("starting the program");
    arguments[0] = "qemu";
    arguments[1] = "-0";
    arguments[2] = given.arguments[2];
    arguments[3] = given.arguments[1];
    for (int i = 3; i < given.count; i++) arguments[i + 1] = given.arguments[i];
    emulate(arguments, given.environment);
}

/* Becomes the server's first process, which keeps nothing of whoever asked first. */
static void serve(int listener)
{
    setsid();
    if (dup2(listener, LISTENER) < 0) _exit(1);
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        if (fd != LISTENER) close(fd);
    for (int fd = 0; fd < 3; fd++)
        if (open("/dev/null", O_RDWR) != fd) _exit(1);
    int library = part(trailer.emulator, trailer.library, 0);
    if (dup2(library, LIBRARY) < 0) _exit(1);
    close(library);
    for (int s = 1; s <= SIGNALS; s++) signal(s, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    char preload[64];
    snprintf(preload, sizeof preload, "LD_PRELOAD=/proc/self/fd/%d", LIBRARY);
    /* In MiB. What clang translates to fills the 128 that the emulator would take. */
    char *arguments[] = { "qemu", "-tb-size", "512", "-0", program, program, NULL };
    char *environment[] = { preload, SERVER "=1", NULL };
    emulate(arguments, environment);
}

/* A connection to the server of the program that `status` is of. Whoever can take
 * the address starts it. */
static int connection(const struct stat *status)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char *name = address.sun_path + 1;
    int length = snprintf(name, sizeof address.sun_path - 1, "kiln-resident-%lx-%lx",
                          (unsigned long)status->st_dev, (unsigned long)status->st_ino);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    for (int attempt = 0; attempt < 5000; attempt++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) return -1;
        if (connect(fd, (struct sockaddr *)&address, size) == 0) return fd;
        int why = errno;
        close(fd);
        if (why != ECONNREFUSED && why != EAGAIN) return -1;
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (listener < 0) return -1;
        if (bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 4096) == 0) {
            if (fork() == 0) serve(listener);
        } else {
            /* Another one is about to listen. */
            usleep(1000);
        }
        close(listener);
    }
    return -1;
}

/* Writes strings one behind the other; how many, or -1. */
static int pack(char *text, uint32_t *at, char **strings)
{
    int count = 0;
    for (; strings[count]; count++) {
        size_t size = strlen(strings[count]) + 1;
        if (size > MOST_TEXT - *at || count == MOST_STRINGS / 2 - 1) return -1;
        memcpy(text + *at, strings[count], size);
        *at += (uint32_t)size;
    }
    return count;
}

/* What a process has from its parent. */
static void describe(struct request *request)
{
    request->umask = umask(0);
    umask(request->umask);
    for (int s = 1; s <= SIGNALS; s++) {
        struct sigaction action;
        if (sigaction(s, NULL, &action) == 0 && action.sa_handler == SIG_IGN) request->ignored |= 1ull << (s - 1);
    }
    for (int i = 0; i < LIMITS; i++) {
        struct rlimit limit;
        if (getrlimit(i, &limit)) continue;
        request->limit[i][0] = limit.rlim_cur;
        request->limit[i][1] = limit.rlim_max;
    }
}

/* Everything open but `own`, the directory first; whether that is all. */
static int descriptors(struct request *request, int *passed, int own)
{
    passed[0] = open(".", O_PATH | O_CLOEXEC | O_DIRECTORY);
    request->number[0] = -1;
    request->descriptors = 1;
    DIR *listing = opendir("/proc/self/fd");
    if (passed[0] < 0 || !listing) return 0;
    for (struct dirent *entry; (entry = readdir(listing));) {
        int number = atoi(entry->d_name);
        if (*entry->d_name == '.' || number == dirfd(listing) || number == own || number == passed[0]) continue;
        if (request->descriptors == MOST_DESCRIPTORS || number >= LISTENER) return 0;
        passed[request->descriptors] = number;
        request->number[request->descriptors++] = number;
    }
    closedir(listing);
    return 1;
}

static int send_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0) return 0;
        bytes += sent;
        size -= (size_t)sent;
    }
    return 1;
}

static int ask(int fd, struct request *request, const char *text, const int *passed)
{
    union {
        char bytes[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
        struct cmsghdr head;
    } control = { 0 };
    size_t size = request->descriptors * sizeof(int);
    struct iovec vector = { request, sizeof *request };
    struct msghdr message = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = CMSG_SPACE(size),
    };
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(head), passed, size);
    return sendmsg(fd, &message, MSG_NOSIGNAL) == sizeof *request && send_all(fd, text, request->text_bytes);
}

static int answer(int fd, uint32_t kind, int *status)
{
    struct answer answer;
    if (recv(fd, &answer, sizeof answer, MSG_WAITALL) != sizeof answer || answer.kind != kind) return 0;
    *status = answer.status;
    return 1;
}

/* Whether something is set that is read before `main` is called, by the emulator,
 * the loader or the C library: a server had its own. */
static int is_set_up_otherwise(char **environment)
{
    static const char *const read_early[] = { "LD_", "QEMU_", "GLIBC_TUNABLES=", "MALLOC_" };
    for (; *environment; environment++)
        for (size_t i = 0; i < sizeof read_early / sizeof *read_early; i++)
            if (strncmp(*environment, read_early[i], strlen(read_early[i])) == 0) return 1;
    return 0;
}

/* Has a server take the request; returns only if none does. */
static void request(const struct stat *status)
{
    struct request request = { 0 };
    int passed[MOST_DESCRIPTORS], exited;
    int fd = connection(status);
    char *text = malloc(MOST_TEXT);
    if (fd < 0 || !text) return;
    int arguments = pack(text, &request.text_bytes, given.arguments + 2);
    int variables = pack(text, &request.text_bytes, given.environment);
    if (arguments < 0 || variables < 0 || !descriptors(&request, passed, fd)) return;
    request.arguments = (uint32_t)arguments;
    request.variables = (uint32_t)variables;
    describe(&request);
    /* One that is alive answers at once. */
    struct timeval patience = { .tv_sec = 120 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (!ask(fd, &request, text, passed) || !answer(fd, TAKEN, &exited)) {
        close(fd);
        return;
    }
    patience.tv_sec = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (answer(fd, ENDED, &exited)) _exit(exited & 255);
    /* It was ended by a signal; which, nobody says. */
    signal(SIGABRT, SIG_DFL);
    abort();
}

int main(int count, char **arguments, char **environment)
{
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    off_t end = lseek(self, -(off_t)sizeof trailer, SEEK_END);
    if (end < 0 || read(self, &trailer, sizeof trailer) != sizeof trailer
        || memcmp(trailer.magic, "kiln resident 1\n", sizeof trailer.magic) || count < 3) {
        fprintf(stderr, "kiln: this program stands in for others in a sandbox\n");
        return 126;
    }
    close(self);
    given.count = count;
    given.arguments = arguments;
    given.environment = environment;

    char path[64];
    struct stat status;
    int opened = (int)getauxval(AT_EXECFD);
    if (opened <= 0) alone();
    snprintf(path, sizeof path, "/proc/self/fd/%d", opened);
    ssize_t length = readlink(path, program, sizeof program - 1);
    int known = length > 0 && fstat(opened, &status) == 0;
    close(opened);
    /* A server has no terminal to take keys and signals from. */
    if (known && !is_set_up_otherwise(environment) && !isatty(STDIN_FILENO)) request(&status);
    alone();
}
