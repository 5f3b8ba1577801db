/* Stands between SQLite and the disk, for tests: fails the Nth call that changes a watched file, or records them all.
 *
 * A watched file has "journal.db" or "secrets." in its path and is neither its lock nor its shared memory.
 * Record: u8 op ('W' write, 'S' sync, 'T' truncate, 'N' note), u8 is_log, u64 offset or note, u64 length, bytes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long countdown = 0;      /* 0: not armed */
static int error_number = 0;    /* 0: a short write instead of an error; -9: the process dies there */
static int for_ever = 0;
static long hits = 0;
static int record_fd = -1;

void faults_arm(long nth, int error, int sticky) { countdown = nth; error_number = error; for_ever = sticky; hits = 0; }
long faults_hits(void) { return hits; }
void faults_record(int fd) { record_fd = fd; }

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);

__attribute__((constructor)) static void find(void) {
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
}

/* 0: not watched, 1: the database, 2: its log */
static int watched(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    if (strstr(path, "secrets.") && !strstr(path, ".lock")) return 1;
    if (!strstr(path, "journal.db") || strstr(path, "-shm") || strstr(path, ".lock")) return 0;
    return strstr(path, "-wal") ? 2 : 1;
}

static int fails(int fd) {
    if (!countdown || !watched(fd)) return 0;
    pthread_mutex_lock(&lock);
    int now = countdown && --countdown == 0;
    if (now) { hits++; if (for_ever) countdown = 1; }
    pthread_mutex_unlock(&lock);
    if (now && error_number == -9) kill(getpid(), SIGKILL);
    return now;
}

static void record(char op, int file, uint64_t at, uint64_t size, const void *data) {
    unsigned char head[18];
    head[0] = op; head[1] = file == 2;
    memcpy(head + 2, &at, 8); memcpy(head + 10, &size, 8);
    pthread_mutex_lock(&lock);
    if (real_write(record_fd, head, 18) != 18 || (data && real_write(record_fd, data, size) != (ssize_t)size)) record_fd = -1;
    pthread_mutex_unlock(&lock);
}

void faults_note(uint64_t value) { record('N', 0, value, 0, NULL); }

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    if (fails(fd)) {
        if (error_number) { errno = error_number; return -1; }
        return real_pwrite(fd, data, size > 1 ? size / 2 : size, at);
    }
    ssize_t done = real_pwrite(fd, data, size, at);
    int file = record_fd >= 0 && done > 0 ? watched(fd) : 0;
    if (file) record('W', file, at, done, data);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }
ssize_t write(int fd, const void *data, size_t size) {
    if (!fails(fd)) return real_write(fd, data, size);
    if (error_number) { errno = error_number; return -1; }
    return real_write(fd, data, size > 1 ? size / 2 : size);
}

static int synced(int fd, int (*real)(int)) {
    if (error_number && fails(fd)) { errno = error_number; return -1; }
    int done = real(fd);
    int file = record_fd >= 0 && done == 0 ? watched(fd) : 0;
    if (file) record('S', file, 0, 0, NULL);
    return done;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int ftruncate64(int fd, off_t size) {
    if (error_number && fails(fd)) { errno = error_number; return -1; }
    int done = real_ftruncate(fd, size);
    int file = record_fd >= 0 && done == 0 ? watched(fd) : 0;
    if (file) record('T', file, size, 0, NULL);
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
