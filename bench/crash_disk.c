/* Stands between a process and the disk and writes down what it does to a folder: for `bench.crash_power`.
 *
 * Record: u8 op, u16 length of path, u64 at, u64 length of data, path, data. The path is relative to the watched folder.
 * Ops: 'W' bytes written at an offset, 'T' cut to a length, 'S' file synced, 'D' folder synced, 'O' file made, 'K' folder
 * made, 'U' removed, 'R' renamed (data: the new path), 'L' linked (data: the new path), 'N' a note of the workload,
 * 'M' the bytes of a file that is written through memory, as they are now. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record_fd = -1;
static char root[4096];
static size_t root_size;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);

static int (*real_openat)(int, const char *, int, ...);
static int (*real_unlink)(const char *);
static int (*real_unlinkat)(int, const char *, int);

static int (*real_renameat)(int, const char *, int, const char *);

static int (*real_linkat)(int, const char *, int, const char *, int);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_mkdirat)(int, const char *, mode_t);

__attribute__((constructor)) static void find(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");

    real_openat = dlsym(RTLD_NEXT, "openat64");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");

    real_renameat = dlsym(RTLD_NEXT, "renameat");

    real_linkat = dlsym(RTLD_NEXT, "linkat");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
    real_mkdirat = dlsym(RTLD_NEXT, "mkdirat");
}

static void put(const void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t wrote = real_write(record_fd, (const char *)data + done, size - done);
        if (wrote <= 0) { record_fd = -1; return; }
        done += wrote;
    }
}

static void record(char op, const char *path, uint64_t at, const void *data, uint64_t size) {
    unsigned char head[19];
    uint16_t named = strlen(path);
    head[0] = op;
    memcpy(head + 1, &named, 2); memcpy(head + 3, &at, 8); memcpy(head + 11, &size, 8);
    put(head, 19); put(path, named);
    if (size) put(data, size);
}

/* The part of an absolute path below the watched folder, "" for itself; NULL when it is not there. */
static const char *below(const char *path) {
    if (record_fd < 0 || strncmp(path, root, root_size)) return NULL;
    return path[root_size] == '/' ? path + root_size + 1 : path[root_size] ? NULL : path + root_size;
}

static const char *of(int fd, char *path) {
    char name[64];
    if (record_fd < 0 || fd == record_fd) return NULL;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, 4095);
    if (size < 0) return NULL;
    path[size] = 0;
    return below(path);
}

/* Absolute, where a path is relative to a folder or to the current one. */
static const char *whole(int dir, const char *path, char *room) {
    if (path[0] == '/') return below(path);
    char name[64];
    if (dir == AT_FDCWD) snprintf(name, sizeof name, "/proc/self/cwd"); else snprintf(name, sizeof name, "/proc/self/fd/%d", dir);
    ssize_t size = readlink(name, room, 4000);
    if (size < 0 || size + strlen(path) + 2 > 4090) return NULL;
    snprintf(room + size, 4095 - size, "/%s", path);
    return below(room);
}

void disk_record(int fd, const char *folder) {
    snprintf(root, sizeof root, "%s", folder);
    root_size = strlen(root);
    record_fd = fd;
}
void disk_note(uint64_t number) {
    pthread_mutex_lock(&lock);
    if (record_fd >= 0) record('N', "", number, NULL, 0);
    pthread_mutex_unlock(&lock);
}
void disk_mapped(const char *path, const void *data, uint64_t size) {
    pthread_mutex_lock(&lock);
    if (record_fd >= 0) record('M', path, 0, data, size);
    pthread_mutex_unlock(&lock);
}

/* The lock is held over the call and its record, so that the order of records is the order of what was done. */
#define DONE(condition, call) \
    pthread_mutex_lock(&lock); int done = call; if (done >= 0 && (condition)) 

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    char room[4096]; const char *path = of(fd, room);
    if (!path) return real_pwrite(fd, data, size, at);
    pthread_mutex_lock(&lock);
    ssize_t done = real_pwrite(fd, data, size, at);
    if (done > 0) record('W', path, at, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }
ssize_t write(int fd, const void *data, size_t size) {
    char room[4096]; const char *path = of(fd, room);
    if (!path) return real_write(fd, data, size);
    pthread_mutex_lock(&lock);
    ssize_t done = real_write(fd, data, size);
    off_t end = lseek(fd, 0, SEEK_CUR);
    if (done > 0 && end >= done) record('W', path, end - done, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

static int synced(int fd, int (*real)(int)) {
    char room[4096]; const char *path = of(fd, room); struct stat found;
    if (!path) return real(fd);
    int folder = !fstat(fd, &found) && S_ISDIR(found.st_mode);
    DONE(1, real(fd)) record(folder ? 'D' : 'S', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int ftruncate64(int fd, off_t size) {
    char room[4096]; const char *path = of(fd, room);
    DONE(path, real_ftruncate(fd, size)) record('T', path, size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int opened(int dir, const char *name, int flags, mode_t mode) {
    char room[4096]; const char *path = record_fd >= 0 ? whole(dir, name, room) : NULL;
    int fresh = path && (flags & O_CREAT) && faccessat(dir, name, F_OK, 0);
    DONE(path, real_openat(dir, name, flags, mode)) {
        if (fresh) record('O', path, 0, NULL, 0);
        else if (flags & O_TRUNC) record('T', path, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}
#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open64(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags, mode); }
int open(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags, mode); }
int openat64(int dir, const char *name, int flags, ...) { MODE return opened(dir, name, flags, mode); }
int openat(int dir, const char *name, int flags, ...) { MODE return opened(dir, name, flags, mode); }

int unlink(const char *name) {
    char room[4096]; const char *path = whole(AT_FDCWD, name, room);
    DONE(path, real_unlink(name)) record('U', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int unlinkat(int dir, const char *name, int flags) {
    char room[4096]; const char *path = whole(dir, name, room);
    DONE(path, real_unlinkat(dir, name, flags)) record('U', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
static int moved(char op, int from_dir, const char *from, int to_dir, const char *to, int (*real)(int, const char *, int, const char *)) {
    char one[4096], two[4096]; const char *path = whole(from_dir, from, one), *target = whole(to_dir, to, two);
    DONE(path && target, real(from_dir, from, to_dir, to)) record(op, path, 0, target, strlen(target));
    pthread_mutex_unlock(&lock);
    return done;
}
static int linking(int from_dir, const char *from, int to_dir, const char *to) { return real_linkat(from_dir, from, to_dir, to, 0); }
int rename(const char *from, const char *to) { return moved('R', AT_FDCWD, from, AT_FDCWD, to, real_renameat); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return moved('R', from_dir, from, to_dir, to, real_renameat); }
int link(const char *from, const char *to) { return moved('L', AT_FDCWD, from, AT_FDCWD, to, linking); }
int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) { (void)flags; return moved('L', from_dir, from, to_dir, to, linking); }
int mkdir(const char *name, mode_t mode) {
    char room[4096]; const char *path = whole(AT_FDCWD, name, room);
    DONE(path, real_mkdir(name, mode)) record('K', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int mkdirat(int dir, const char *name, mode_t mode) {
    char room[4096]; const char *path = whole(dir, name, room);
    DONE(path, real_mkdirat(dir, name, mode)) record('K', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
