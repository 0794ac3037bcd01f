/* Makes a server of the program that it is loaded into, if SERVER is in the
 * environment; without that it does nothing.
 *
 * The program is loaded once, and its libraries are set up once. Before `main` is
 * called, all memory that can be written is copied: that is where each request
 * begins. For a request, `main` runs with what the client sent. When it has ended,
 * by returning, `exit` or `_exit`, the memory is written back, and descriptors,
 * signals, mappings and the heap's end are made what they were. What stays is what
 * the emulator has translated, which is what this is for.
 *
 * A process serves one request at a time. One that takes a request and knows of no
 * other that waits makes a copy of itself first; so there are as many as there have
 * been requests at one time, and one more. One that cannot be taken back (threads
 * or children that still run, memory that is gone, other limits) ends after its
 * request. A program that becomes another one does that in a child.
 *
 * It is compiled for an architecture that has no headers here, and linked with
 * nothing: the C library is the program's. What it takes for granted of that is
 * glibc's for 64 bits. */
#include "request.h"
#include <stddef.h>

typedef unsigned long word;
typedef long ssize_t;

extern void *dlsym(void *, const char *);
extern void *mmap(void *, size_t, int, int, int, long);
extern int munmap(void *, size_t);
extern int mprotect(void *, size_t, int);
extern void *memcpy(void *, const void *, size_t);
extern void *memset(void *, int, size_t);
extern char *strrchr(const char *, int);
extern word strtoul(const char *, char **, int);
extern int open(const char *, int, ...);
extern int close(int);
extern ssize_t read(int, void *, size_t);
extern ssize_t send(int, const void *, size_t, int);
extern ssize_t recvmsg(int, void *, int);
extern int accept4(int, void *, void *, int);
extern int dup2(int, int);
extern int dup3(int, int, int);
extern int fcntl(int, int, ...);
extern int fchdir(int);
extern unsigned umask(unsigned);
extern int fork(void);
extern int waitpid(int, int *, int);
extern int pipe2(int *, int);
extern ssize_t write(int, const void *, size_t);
extern int kill(int, int);
extern int prctl(int, ...);
extern int getpid(void);
extern int *__errno_location(void);
extern long syscall(long, ...);
extern int fflush(void *);
extern int sigaction(int, const void *, void *);
extern int sigprocmask(int, const void *, void *);
extern int sigaltstack(const void *, void *);
extern void *signal(int, void *);
extern int getrlimit(int, void *);
extern int getcontext(void *);
extern void makecontext(void *, void (*)(void), int, ...);
extern int setcontext(const void *);
extern int _setjmp(void *) __attribute__((returns_twice));
extern void longjmp(void *, int) __attribute__((noreturn));
extern char **environ;
extern char *program_invocation_name, *program_invocation_short_name;

enum { PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4 };
enum { MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 16, MAP_ANONYMOUS = 32 };
enum { FD_CLOEXEC = 1, F_SETFD = 2, F_GETFL = 3, F_SETFL = 4, F_SETOWN = 8, F_DUPFD_CLOEXEC = 1030 };
enum { O_ASYNC = 020000, O_CLOEXEC = 02000000 };
enum { MSG_WAITALL = 0x100, MSG_NOSIGNAL = 0x4000 };
enum { SIG_SETMASK = 2, SS_DISABLE = 2, SIGKILL = 9, SIGCHLD = 17 };
enum { WNOHANG = 1, PR_SET_PDEATHSIG = 1 };
#define SIG_DFL ((void *)0)
#define SIG_IGN ((void *)1)
#define RTLD_NEXT ((void *)-1l)

#if defined(__aarch64__)
enum { SYS_getdents64 = 61, SYS_exit_group = 94, SYS_brk = 214, O_DIRECTORY = 040000 };
#elif defined(__x86_64__)
enum { SYS_brk = 12, SYS_getdents64 = 217, SYS_exit_group = 231, O_DIRECTORY = 0200000 };
#else
#error "no numbers of system calls for this architecture"
#endif

/* The largest page of any architecture: nothing of ours shares one. */
enum { PAGE = 1 << 16, OWN_STACK = 1 << 20, COPIES = 64 << 20, MOST_RANGES = 4096 };

/* Addresses that may be used alike. */
struct range {
    word start, end;
    int protection;
};

struct ranges {
    int count;
    struct range at[MOST_RANGES];
};

/* The head of `ucontext_t`, the same everywhere, and room for the rest. */
struct context {
    word flags;
    void *link, *stack;
    int stack_flags;
    size_t stack_size;
    char rest[8192];
} __attribute__((aligned(16)));

typedef long jump[64] __attribute__((aligned(16)));

/* All that outlives a request. It lies in the area, which is not taken back:
 *
 *   guard | state | shared counter | copies | own stack | text | pointers | guard
 */
struct state {
    int (*main)(int, char **, char **);
    void (*loader_fini)(void);
    jump begin, ended;
    struct context own;
    int running, status, pid, threads;
    /* In a copy that becomes another program: where it says why it does not. */
    int report;
    int count;
    char **arguments, **environment;
    /* How many processes wait for a request. Shared by all of them. */
    int *waiting;
    word area, area_end, heap_end;
    /* Where the program's stack ends when a request begins. */
    word stack;
    char *copies, *own_stack, *text;
    char **pointers;
    struct ranges then, now;
    char action[SIGNALS + 1][192];
    char mask[128];
    unsigned char open[DESCRIPTORS];
    struct request request;
    char buffer[PAGE];
};

static struct state *state;

__attribute__((noreturn)) static void die(int status)
{
    for (;;) syscall(SYS_exit_group, status);
}

/* ---- What the process is like ---- */

/* `START-END rwxp …`, as the emulator tells it of the program. */
static struct range parse(char *line)
{
    struct range range;
    char *rest;
    range.start = strtoul(line, &rest, 16);
    range.end = strtoul(rest + 1, &rest, 16);
    range.protection = (rest[1] == 'r' ? PROT_READ : 0) | (rest[2] == 'w' ? PROT_WRITE : 0)
                       | (rest[3] == 'x' ? PROT_EXEC : 0);
    return range;
}

static int add(struct ranges *ranges, struct range range)
{
    struct range *last = &ranges->at[ranges->count - 1];
    if (ranges->count && last->end == range.start && last->protection == range.protection) {
        last->end = range.end;
        return 1;
    }
    if (ranges->count == MOST_RANGES) return 0;
    ranges->at[ranges->count++] = range;
    return 1;
}

static int read_ranges(struct ranges *ranges)
{
    char line[128];
    size_t length = 0;
    int whole = 1, fd = open("/proc/self/maps", O_CLOEXEC);
    if (fd < 0) return 0;
    ranges->count = 0;
    for (ssize_t got; (got = read(fd, state->buffer, sizeof state->buffer)) > 0;)
        for (ssize_t i = 0; i < got; i++) {
            char byte = state->buffer[i];
            if (byte == '\n') {
                line[length] = 0;
                whole &= add(ranges, parse(line));
                length = 0;
            } else if (length < sizeof line - 1) {
                /* The name at a line's end is not looked at. */
                line[length++] = byte;
            }
        }
    close(fd);
    return whole;
}

/* How many numbers a directory of /proc lists, and which, if `set` is given. */
static int list(const char *path, unsigned char *set)
{
    enum { LENGTH = 16, NAME = 19 };
    int count = 0, fd = open(path, O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    for (long got; (got = syscall(SYS_getdents64, fd, state->buffer, sizeof state->buffer)) > 0;)
        for (long at = 0; at < got;) {
            char *entry = state->buffer + at;
            at += *(unsigned short *)(entry + LENGTH);
            if (entry[NAME] == '.') continue;
            word number = strtoul(entry + NAME, NULL, 10);
            count++;
            if (set && number < DESCRIPTORS && (int)number != fd) set[number] = 1;
        }
    close(fd);
    return count;
}

/* The part of a range that is copied: not our own, and of the stack only what is
 * in use when a request begins. */
static size_t copied(const struct range *range, word *start)
{
    *start = range->start;
    if (!(range->protection & PROT_WRITE)) return 0;
    if (range->start >= state->area && range->end <= state->area_end) return 0;
    if (range->start <= state->stack && state->stack < range->end) *start = state->stack;
    return range->end - *start;
}

/* Copies what a request begins with. */
static int keep(void)
{
    char *to = state->copies;
    if (!read_ranges(&state->then)) return 0;
    for (int i = 0; i < state->then.count; i++) {
        word start;
        size_t size = copied(&state->then.at[i], &start);
        if (size > (size_t)(state->copies + COPIES - to)) return 0;
        memcpy(to, (void *)start, size);
        to += size;
    }
    state->heap_end = (word)syscall(SYS_brk, 0);
    state->pid = getpid();
    return 1;
}

/* ---- Taking it back ---- */

/* Removes what was not mapped then, and protects the rest as it was. */
static int unmap(void)
{
    int i = 0;
    for (int j = 0; j < state->now.count; j++) {
        struct range now = state->now.at[j];
        while (now.start < now.end) {
            while (i < state->then.count && state->then.at[i].end <= now.start) i++;
            const struct range *then = i < state->then.count ? &state->then.at[i] : NULL;
            word end = now.end;
            if (!then || now.start < then->start) {
                if (then && then->start < end) end = then->start;
                if (munmap((void *)now.start, end - now.start)) return 0;
            } else {
                if (then->end < end) end = then->end;
                if (then->protection != now.protection
                    && mprotect((void *)now.start, end - now.start, then->protection))
                    return 0;
            }
            now.start = end;
        }
    }
    return 1;
}

/* Whether everything that was mapped then still is. */
static int nothing_lost(void)
{
    int j = 0;
    for (int i = 0; i < state->then.count; i++)
        for (word at = state->then.at[i].start; at < state->then.at[i].end; at = state->now.at[j].end) {
            while (j < state->now.count && state->now.at[j].end <= at) j++;
            if (j == state->now.count || state->now.at[j].start > at) return 0;
        }
    return 1;
}

static int take_back(void)
{
    const struct {
        void *stack;
        int flags;
        size_t size;
    } none = { NULL, SS_DISABLE, 0 };
    char *from = state->copies;
    syscall(SYS_brk, state->heap_end);
    if (!read_ranges(&state->now) || !unmap() || !nothing_lost()) return 0;
    for (int i = 0; i < state->then.count; i++) {
        word start;
        size_t size = copied(&state->then.at[i], &start);
        memcpy((void *)start, from, size);
        from += size;
    }
    sigaltstack(&none, NULL);
    for (int s = 1; s <= SIGNALS; s++) sigaction(s, state->action[s], NULL);
    sigprocmask(SIG_SETMASK, state->mask, NULL);
    return list("/proc/self/task", NULL) == state->threads;
}

/* Whether nothing is left that the program started. */
static int has_no_children(void)
{
    int child;
    while ((child = waitpid(-1, NULL, WNOHANG)) > 0) {}
    return child < 0;
}

static void close_others(void)
{
    unsigned char open[DESCRIPTORS];
    memset(open, 0, sizeof open);
    list("/proc/self/fd", open);
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        if (open[fd] && !state->open[fd] && fd != CONNECTION) close(fd);
}

/* ---- Requests ---- */

static int answer(uint32_t kind, int status)
{
    struct answer answer = { kind, status };
    return send(CONNECTION, &answer, sizeof answer, MSG_NOSIGNAL) == sizeof answer;
}

static int read_all(char *to, size_t size)
{
    while (size) {
        ssize_t got = read(CONNECTION, to, size);
        if (got <= 0) return 0;
        to += got;
        size -= (size_t)got;
    }
    return 1;
}

/* Receives the request's head; how many descriptors came along, or -1. */
static int receive(int *passed)
{
    struct {
        size_t length;
        int level, type;
        int passed[MOST_DESCRIPTORS];
    } control;
    struct {
        void *base;
        size_t size;
    } vector = { &state->request, sizeof state->request };
    struct {
        void *name;
        unsigned name_size;
        void *vectors;
        size_t count;
        void *control;
        size_t control_size;
        int flags;
    } message = { NULL, 0, &vector, 1, &control, sizeof control, 0 };
    if (recvmsg(CONNECTION, &message, MSG_WAITALL) != sizeof state->request) return -1;
    if (message.control_size < offsetof(__typeof__(control), passed)) return -1;
    size_t bytes = control.length - offsetof(__typeof__(control), passed);
    memcpy(passed, control.passed, bytes);
    return (int)(bytes / sizeof(int));
}

static char **point(char **to, char **text, uint32_t count)
{
    char *end = state->text + state->request.text_bytes;
    for (; count; count--) {
        *to++ = *text;
        while (*text < end && *(*text)++) {}
    }
    *to++ = NULL;
    return to;
}

/* The limits of a process are not taken back, so they have to be the same. */
static int has_our_limits(void)
{
    for (int i = 0; i < LIMITS; i++) {
        uint64_t limit[2];
        if (getrlimit(i, limit)) continue;
        if (limit[0] != state->request.limit[i][0] || limit[1] != state->request.limit[i][1]) return 0;
    }
    return 1;
}

/* Puts the client's descriptors where it had them. */
static void place(int *passed, int count)
{
    for (int i = 0; i < count; i++) {
        int away = fcntl(passed[i], F_DUPFD_CLOEXEC, PASSED);
        close(passed[i]);
        passed[i] = away;
    }
    for (int i = 0; i < count; i++) {
        int number = state->request.number[i];
        if (number < 0) fchdir(passed[i]);
        else dup2(passed[i], number);
        close(passed[i]);
    }
}

/* Receives a request and makes this process what it asks for. */
static int take(void)
{
    const struct request *request = &state->request;
    int passed[MOST_DESCRIPTORS], count = receive(passed);
    if (count < 0) return 0;
    char *text = state->text;
    int fits = count == (int)request->descriptors && request->arguments && request->text_bytes <= MOST_TEXT
               && request->arguments < MOST_STRINGS / 2 && request->variables < MOST_STRINGS / 2;
    if (!fits || !read_all(text, request->text_bytes) || !has_our_limits()) {
        for (int i = 0; i < count; i++) close(passed[i]);
        answer(REFUSED, 0);
        return 0;
    }
    state->count = (int)request->arguments;
    state->arguments = state->pointers;
    state->environment = point(state->arguments, &text, request->arguments);
    point(state->environment, &text, request->variables);
    place(passed, count);
    umask(request->umask);
    for (int s = 1; s <= SIGNALS; s++)
        if (request->ignored >> (s - 1) & 1) signal(s, SIG_IGN);
    if (!answer(TAKEN, 0)) return 0;
    /* From here on nothing comes but the end of the client, and that is ours. */
    fcntl(CONNECTION, F_SETOWN, getpid());
    fcntl(CONNECTION, F_SETFL, fcntl(CONNECTION, F_GETFL) | O_ASYNC);
    return 1;
}

/* Makes a copy that waits for requests, and is no child of this process. Whether
 * this is the copy. */
static int copy(void)
{
    int child = fork();
    if (child < 0) return 0;
    if (child) {
        waitpid(child, NULL, 0);
        return 0;
    }
    if (fork()) die(0);
    close(CONNECTION);
    /* The C library's memory has the numbers of the new thread. */
    if (!keep()) die(1);
    return 1;
}

static void serve(void)
{
    if (!keep()) die(1);
    for (;;) {
        __atomic_add_fetch(state->waiting, 1, __ATOMIC_SEQ_CST);
        int fd = accept4(LISTENER, NULL, NULL, O_CLOEXEC);
        int alone = __atomic_sub_fetch(state->waiting, 1, __ATOMIC_SEQ_CST) == 0;
        if (fd < 0) continue;
        dup3(fd, CONNECTION, O_CLOEXEC);
        close(fd);
        if (alone && copy()) continue;
        int taken = take();
        if (taken) {
            state->running = 1;
            if (_setjmp(state->ended) == 0) longjmp(state->begin, 1);
            state->running = 0;
            fcntl(CONNECTION, F_SETFL, 0);
        }
        /* First, so that who reads from a pipe of it sees the end in time. */
        close_others();
        if (taken) answer(ENDED, state->status);
        close(CONNECTION);
        if (!take_back() || !has_no_children() || !has_our_limits()) die(0);
    }
}

/* ---- In the program's place ---- */

static int in_request(void)
{
    return state && state->running && getpid() == state->pid;
}

__attribute__((noreturn)) static void end(int status)
{
    state->status = status;
    longjmp(state->ended, 1);
}

/* What `exit` calls last: all that the program registered has run. */
static void loader_fini(void)
{
    if (state->loader_fini) state->loader_fini();
    if (!in_request()) return;
    fflush(NULL);
    end(state->status);
}

__attribute__((noreturn)) void exit(int status)
{
    void (*real)(int) = dlsym(RTLD_NEXT, "exit");
    if (in_request()) state->status = status;
    for (;;) real(status);
}

__attribute__((noreturn)) void _exit(int status)
{
    if (in_request()) end(status);
    die(status);
}

/* Makes the copy that becomes another program. Returns 0 there, and where there is
 * no request; -1 with `errno` if it became none. Else it ends as the copy did. */
static int leave(void)
{
    int failure[2], status, why;
    if (!in_request()) return 0;
    if (pipe2(failure, O_CLOEXEC)) return -1;
    /* Where it is ignored no child's status is kept. */
    void *action = signal(SIGCHLD, SIG_DFL);
    int child = fork();
    if (child == 0) {
        if (action == SIG_IGN) signal(SIGCHLD, SIG_IGN);
        /* Whoever ends the client means this program. */
        prctl(PR_SET_PDEATHSIG, (word)SIGKILL);
        state->report = failure[1];
        return 0;
    }
    close(failure[1]);
    int failed = child < 0 || read(failure[0], &why, sizeof why) == sizeof why;
    close(failure[0]);
    if (child > 0)
        while (waitpid(child, &status, 0) < 0) {}
    if (failed) {
        signal(SIGCHLD, action);
        if (child > 0) *__errno_location() = why;
        return -1;
    }
    int by = status & 127;
    if (by) {
        signal(by, SIG_DFL);
        kill(getpid(), by);
        die(1);
    }
    end(status >> 8 & 255);
}

static int stay(int result)
{
    if (!state || !state->report) return result;
    int why = *__errno_location();
    write(state->report, &why, sizeof why);
    die(127);
}

int execve(const char *path, char *const *arguments, char *const *environment)
{
    int (*real)(const char *, char *const *, char *const *) = dlsym(RTLD_NEXT, "execve");
    return leave() ? -1 : stay(real(path, arguments, environment));
}

int execv(const char *path, char *const *arguments)
{
    return execve(path, arguments, environ);
}

int execvp(const char *file, char *const *arguments)
{
    int (*real)(const char *, char *const *) = dlsym(RTLD_NEXT, "execvp");
    return leave() ? -1 : stay(real(file, arguments));
}

/* `main` of a server: it serves until nobody is left to ask. */
static int begin(int count, char **arguments, char **environment)
{
    char mark;
    (void)count, (void)arguments, (void)environment;
    /* Room for the red zone, and for what `_setjmp` keeps of this frame. */
    state->stack = ((word)&mark - 4096) & ~15ul;
    if (_setjmp(state->begin) == 0) {
        getcontext(&state->own);
        state->own.stack = state->own_stack;
        state->own.stack_size = OWN_STACK;
        makecontext(&state->own, serve, 0);
        setcontext(&state->own);
    }
    environ = state->environment;
    char *name = state->arguments[0], *slash = strrchr(name, '/');
    program_invocation_name = name;
    program_invocation_short_name = slash ? slash + 1 : name;
    exit(state->main(state->count, state->arguments, state->environment));
}

static void make_area(void)
{
    size_t head = (sizeof *state + PAGE - 1) & ~(size_t)(PAGE - 1);
    size_t pointers = MOST_STRINGS * sizeof(char *);
    size_t size = head + PAGE + COPIES + OWN_STACK + MOST_TEXT + pointers;
    /* With guards, so that the kernel joins nothing of ours with another mapping. */
    char *area = mmap(NULL, size + 2 * PAGE, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *first = area + PAGE;
    if (mprotect(first, size, PROT_READ | PROT_WRITE)) die(1);
    state = (struct state *)first;
    state->area = (word)area;
    state->area_end = (word)first + size;
    state->waiting = mmap(first + head, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
    state->copies = first + head + PAGE;
    state->own_stack = state->copies + COPIES;
    state->text = state->own_stack + OWN_STACK;
    state->pointers = (char **)(state->text + MOST_TEXT);
}

static int is_server(char **environment)
{
    for (; *environment; environment++) {
        const char *have = *environment, *want = SERVER "=";
        while (*want && *have == *want) have++, want++;
        if (!*want) return 1;
    }
    return 0;
}

/* What the program's first instructions call, before which only the loader ran. */
int __libc_start_main(int (*main)(int, char **, char **), int count, char **arguments, void (*init)(void),
                      void (*fini)(void), void (*at_end)(void), void *stack_end)
{
    int (*real)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
    real = dlsym(RTLD_NEXT, "__libc_start_main");
    if (!is_server(arguments + count + 1)) return real(main, count, arguments, init, fini, at_end, stack_end);
    make_area();
    state->main = main;
    state->loader_fini = at_end;
    for (int s = 1; s <= SIGNALS; s++) sigaction(s, NULL, state->action[s]);
    sigprocmask(SIG_SETMASK, NULL, state->mask);
    close(LIBRARY);
    /* Not for what the program starts. */
    fcntl(LISTENER, F_SETFD, FD_CLOEXEC);
    for (int fd = 0; fd < 3; fd++) close(fd);
    list("/proc/self/fd", state->open);
    state->threads = list("/proc/self/task", NULL);
    return real(begin, count, arguments, init, fini, loader_fini, stack_end);
}
