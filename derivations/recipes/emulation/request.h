/* What the client asks of a server, and what it is answered, over a stream socket
 * of one sandbox. A request is a `struct request`, whose first byte brings the
 * descriptors along, and then `text_bytes` of strings that end in NUL: the
 * arguments and then the environment. Answers are TAKEN and then ENDED, or
 * REFUSED. Both sides are built together, so this has no version. */
#include <stdint.h>

enum {
    MOST_DESCRIPTORS = 64,
    MOST_TEXT = 4 << 20,
    MOST_STRINGS = 1 << 18,
    LIMITS = 16,
    SIGNALS = 64,
};

/* Above what a program opens, below the contract's limit. */
enum { LISTENER = 901, LIBRARY = 902, CONNECTION = 903, PASSED = 910, DESCRIPTORS = 1024 };

/* In the environment of a server. */
#define SERVER "KILN_RESIDENT"

struct request {
    uint32_t arguments, variables;
    uint32_t text_bytes;
    uint32_t descriptors;
    /* The number of each descriptor. The first is the working directory. */
    int32_t number[MOST_DESCRIPTORS];
    uint32_t umask;
    uint32_t reserved;
    /* Bit N - 1: signal N is ignored. */
    uint64_t ignored;
    /* The soft and the hard limit of each resource. */
    uint64_t limit[LIMITS][2];
};

enum { TAKEN = 1, REFUSED = 2, ENDED = 3 };

struct answer {
    uint32_t kind;
    /* With ENDED: what the program exited with. */
    int32_t status;
};
