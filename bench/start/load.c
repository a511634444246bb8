// Starts things many times and prints how long each start took, in nanoseconds, one a line.
//
//   load exec ROUNDS CONCURRENCY PAUSE-MS COMMAND...          from posix_spawn to the exit; %d in a word is a number of its own
//   load api ROUNDS CONCURRENCY PAUSE-MS SOCKET BODY          POST /v1/sandboxes over open connections, to the answer; each
//                                                             sandbox is removed again, and the pool filled, in between
//   load burst COUNT CONCURRENCY SOCKET BODY                  COUNT of them as fast as may be, and left; prints one number, the whole
//
// In a round all workers start at once. BODY is JSON.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static pthread_barrier_t start_line, finish_line;
static atomic_int next_number = 1;
static int rounds, concurrency, pause_ms, burst;
static uint64_t *samples;
static char **command;
static posix_spawn_file_actions_t quiet; // standard output is for the samples
static const char *socket_path, *body;

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t run_command(void) {
    char number[16], *words[64], held[64][256];
    int count = 0;
    snprintf(number, sizeof number, "%d", atomic_fetch_add(&next_number, 1));
    for (char **word = command; *word && count < 63; word++, count++) {
        char *mark = strstr(*word, "%d");
        words[count] = *word;
        if (mark) {
            snprintf(held[count], sizeof held[count], "%.*s%s%s", (int)(mark - *word), *word, number, mark + 2);
            words[count] = held[count];
        }
    }
    words[count] = NULL;
    pid_t child;
    int status;
    uint64_t from = now();
    errno = posix_spawnp(&child, words[0], &quiet, NULL, words, environ);
    if (errno) fail(words[0]);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) fail("waitpid");
    uint64_t took = now() - from;
    if (status != 0) {
        fprintf(stderr, "load: %s ended with status %#x\n", words[0], (unsigned)status);
        exit(1);
    }
    return took;
}

static int open_connection(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || strlen(socket_path) >= sizeof address.sun_path) fail("socket");
    strcpy(address.sun_path, socket_path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) fail(socket_path);
    return fd;
}

// Sends a request, reads the whole answer into `answer` and returns its status.
static int exchange(int fd, const char *request, size_t length, char *answer, size_t size) {
    for (size_t sent = 0; sent < length;) {
        ssize_t n = write(fd, request + sent, length - sent);
        if (n <= 0) fail("write");
        sent += (size_t)n;
    }
    size_t held = 0;
    for (;;) {
        ssize_t n = read(fd, answer + held, size - 1 - held);
        if (n <= 0) fail("read");
        held += (size_t)n;
        answer[held] = 0;
        char *end = strstr(answer, "\r\n\r\n");
        if (!end) continue;
        char *mark = strcasestr(answer, "\r\ncontent-length:");
        size_t content = mark && mark < end ? strtoul(mark + 17, NULL, 10) : 0;
        if ((size_t)(end + 4 - answer) + content <= held) return atoi(answer + 9);
        if (held + 1 >= size) { errno = EMSGSIZE; fail("answer"); }
    }
}

// Returns how long the start took; the sandbox's id goes into `id`.
static uint64_t create(int fd, char *id, size_t id_size) {
    static __thread char answer[65536];
    char head[256];
    int head_length = snprintf(head, sizeof head,
        "POST /v1/sandboxes HTTP/1.1\r\nHost: corral\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", strlen(body));
    size_t length = (size_t)head_length + strlen(body);
    char *request = malloc(length + 1);
    if (!request) fail("malloc");
    memcpy(request, head, (size_t)head_length);
    strcpy(request + head_length, body);
    uint64_t from = now();
    int status = exchange(fd, request, length, answer, sizeof answer);
    uint64_t took = now() - from;
    free(request);
    char *mark = strstr(answer, "\"id\":\"");
    if (status != 201 || !mark) {
        fprintf(stderr, "load: %s\n", answer);
        exit(1);
    }
    snprintf(id, id_size, "%.*s", (int)strcspn(mark + 6, "\""), mark + 6);
    return took;
}

static void destroy(int fd, const char *id) {
    char request[256], answer[4096];
    int length = snprintf(request, sizeof request, "DELETE /v1/sandboxes/%s?force=true HTTP/1.1\r\nHost: corral\r\n\r\n", id);
    int status = exchange(fd, request, (size_t)length, answer, sizeof answer);
    if (status != 204 && status != 404) {
        fprintf(stderr, "load: %s\n", answer);
        exit(1);
    }
}

// Waits until as many sandboxes are warm as are wanted: what is measured next does not compete with their making.
static void wait_for_pool(int fd) {
    static const char request[] = "GET /v1/pool HTTP/1.1\r\nHost: corral\r\n\r\n";
    char answer[4096];
    for (int i = 0; i < 3000; i++) {
        exchange(fd, request, sizeof request - 1, answer, sizeof answer);
        char *target = strstr(answer, "\"target\":"), *warm = strstr(answer, "\"warm\":");
        if (target && warm && atoi(warm + 7) >= atoi(target + 9)) return;
        struct timespec rest = {0, 10000000};
        nanosleep(&rest, NULL);
    }
    errno = ETIMEDOUT;
    fail("the pool");
}

static void *work(void *argument) {
    int worker = (int)(intptr_t)argument;
    int fd = socket_path ? open_connection() : -1;
    char id[64];
    if (burst) {
        pthread_barrier_wait(&start_line);
        while (atomic_fetch_add(&next_number, 1) <= burst) create(fd, id, sizeof id);
        pthread_barrier_wait(&finish_line);
        return NULL;
    }
    for (int round = 0; round < rounds; round++) {
        pthread_barrier_wait(&start_line);
        uint64_t took = socket_path ? create(fd, id, sizeof id) : run_command();
        samples[round * concurrency + worker] = took;
        pthread_barrier_wait(&finish_line);
        if (socket_path) {
            destroy(fd, id);
            wait_for_pool(fd);
        }
        struct timespec rest = {pause_ms / 1000, (long)(pause_ms % 1000) * 1000000};
        nanosleep(&rest, NULL);
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 6) return fprintf(stderr, "usage: see load.c\n"), 2;
    rounds = atoi(argv[2]);
    concurrency = atoi(argv[3]);
    if (strcmp(argv[1], "burst") == 0) {
        burst = rounds;
        socket_path = argv[4];
        body = argv[5];
    } else {
        pause_ms = atoi(argv[4]);
        if (strcmp(argv[1], "api") == 0 && argc == 7) socket_path = argv[5], body = argv[6];
        else command = argv + 5;
    }
    if (rounds < 1 || concurrency < 1 || concurrency > 512) return fprintf(stderr, "load: bad numbers\n"), 2;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    samples = calloc((size_t)rounds * (size_t)concurrency, sizeof *samples);
    pthread_barrier_init(&start_line, NULL, (unsigned)concurrency + (burst ? 1 : 0));
    pthread_barrier_init(&finish_line, NULL, (unsigned)concurrency + (burst ? 1 : 0));
    pthread_t threads[512];
    for (intptr_t i = 0; i < concurrency; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i)) fail("pthread_create");
    if (burst) {
        pthread_barrier_wait(&start_line);
        uint64_t from = now();
        pthread_barrier_wait(&finish_line);
        printf("%llu\n", (unsigned long long)(now() - from));
    }
    for (int i = 0; i < concurrency; i++) pthread_join(threads[i], NULL);
    if (!burst)
        for (int i = 0; i < rounds * concurrency; i++) printf("%llu\n", (unsigned long long)samples[i]);
    return 0;
}
