/* A disk that fails on demand: preloaded into a command, it counts, refuses and records what the command does to files.

   Input: a control file, named by $FAULT_CONTROL and mapped by every process of a run: `struct control`, whose layout
   `tests/torture/shim.py` writes. Output: calls that fail, and a log of what was done to names and what was synced.

   1. Counted is what can fail a writer: an open that may write, write, fsync, close of what was open for writing,
      rename, mkdir, unlink, rmdir, link, symlink and truncate, of paths below `root`; one count over all processes.
   2. The `at`-th call fails with `error`, or half of it is written and the next fails, or it and all after it fail, or
      the whole process group is killed there.
   3. With a `log`, each call that changes a name, and each fsync, is one line; at the fsync of a file its content is
      copied to `snapshots`/<number>. One lock keeps lines in the order of the calls. fsync does nothing else, wherever
      the file is: what would be on the disk is what the log says.

   glibc's own streams (fopen) write without passing here; Python, torch and libstdc++ do not use them to write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define LONGEST 1024

enum mode { ONCE, HALF, EVER, KILL };
enum verdict { PASS, FAIL, PART };

struct control {
    _Atomic uint64_t count;
    _Atomic uint64_t at; /* 0: nothing fails */
    int32_t error;
    int32_t mode;
    _Atomic int32_t lock;
    int32_t unused;
    char root[LONGEST]; /* empty: nothing is counted */
    char log[LONGEST];  /* empty: nothing is logged */
    char snapshots[LONGEST];
    char hit[2 * LONGEST]; /* the first call that failed */
};

static struct control *control;

#define REAL(name, result, ...)                                                                                        \
    static result (*real_##name)(__VA_ARGS__);                                                                         \
    if (!real_##name) real_##name = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("FAULT_CONTROL");
    if (!path) return;
    REAL(open, int, const char *, int, ...);
    REAL(close, int, int);
    int descriptor = real_open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) abort();
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    real_close(descriptor);
    if (mapped == MAP_FAILED) abort();
    control = mapped;
}

/* ---- which paths ---- */

static int below_root(const char *path) {
    size_t length = strlen(control->root);
    return strncmp(path, control->root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, LONGEST - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return path[0] == '/';
}

/* Whether a name is of concern; `path` gets the absolute one. */
static int named(int folder, const char *name, char *path) {
    if (!control || !control->root[0] || !name) return 0;
    if (name[0] == '/') {
        if (strlen(name) >= LONGEST) return 0;
        strcpy(path, name);
        return below_root(path);
    }
    int saved = errno;
    int found = folder == AT_FDCWD ? getcwd(path, LONGEST) != NULL : path_of(folder, path);
    errno = saved;
    size_t length = found ? strlen(path) : 0;
    if (!found || length + strlen(name) + 2 > LONGEST) return 0;
    path[length] = '/';
    strcpy(path + length + 1, name);
    return below_root(path);
}

/* Whether a descriptor is of concern: open for writing, or a folder. */
static int opened(int descriptor, char *path, int only_writers) {
    if (!control || !control->root[0]) return 0;
    int saved = errno;
    int flags = fcntl(descriptor, F_GETFL);
    int found = flags >= 0 && (!only_writers || (flags & O_ACCMODE) != O_RDONLY) && path_of(descriptor, path) &&
                below_root(path);
    errno = saved;
    return found;
}

/* ---- what becomes of a call ---- */

static int needs_space(const char *call) {
    return strcmp(call, "open") == 0 || strcmp(call, "write") == 0 || strcmp(call, "mkdir") == 0 ||
           strcmp(call, "fsync") == 0 || strcmp(call, "truncate") == 0;
}

static enum verdict enter(const char *call, const char *path) {
    if (control->log[0])
        for (int free = 0; !atomic_compare_exchange_weak(&control->lock, &free, 1); free = 0) sched_yield();
    uint64_t number = atomic_fetch_add(&control->count, 1) + 1, at = control->at;
    if (!at || number < at || (number > at && control->mode != EVER)) return PASS;
    int full = control->error == ENOSPC || control->error == EDQUOT;
    if (number > at && full && !needs_space(call)) return PASS; /* a full disk still renames and removes */
    if (number == at) snprintf(control->hit, sizeof control->hit, "%s %s", call, path);
    if (control->mode == KILL) {
        kill(0, SIGKILL);
        for (;;) pause();
    }
    if (control->mode == HALF && strcmp(call, "write") == 0) {
        control->mode = ONCE;
        control->at = number + 1; /* a writer goes on with the rest, and that fails */
        return PART;
    }
    errno = control->error;
    return FAIL;
}

static void copy(int from, const char *to) {
    REAL(open, int, const char *, int, ...);
    REAL(write, ssize_t, int, const void *, size_t);
    REAL(close, int, int);
    char link[64], buffer[1 << 16];
    snprintf(link, sizeof link, "/proc/self/fd/%d", from); /* the descriptor itself may be open for writing only */
    int source = real_open(link, O_RDONLY | O_CLOEXEC), target = real_open(to, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (source < 0 || target < 0) abort();
    for (ssize_t size; (size = read(source, buffer, sizeof buffer)) > 0;)
        if (real_write(target, buffer, size) != size) abort();
    real_close(source);
    real_close(target);
}

/* After a call: let go of the lock and, if it was done, write its line. */
static void leave(const char *call, const char *path, const char *other, int done) {
    if (!control->log[0]) return;
    if (done && call) {
        REAL(open, int, const char *, int, ...);
        REAL(write, ssize_t, int, const void *, size_t);
        REAL(close, int, int);
        int saved = errno;
        char line[3 * LONGEST];
        int length = snprintf(line, sizeof line, "%llu\t%s\t%s\t%s\n", (unsigned long long)control->count, call, path,
                              other ? other : "");
        int descriptor = real_open(control->log, O_WRONLY | O_CREAT | O_APPEND, 0666);
        if (descriptor < 0 || real_write(descriptor, line, length) != length) abort();
        real_close(descriptor);
        errno = saved;
    }
    atomic_store(&control->lock, 0);
}

/* ---- the calls ---- */

static int may_write(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT); }

#define OPENED(folder, name, flags, call)                                                                              \
    do {                                                                                                               \
        char path[LONGEST];                                                                                            \
        if (!may_write(flags) || !named(folder, name, path)) return call;                                              \
        int result = enter("open", path) == PASS ? call : -1;                                                          \
        leave("open", path, NULL, result >= 0);                                                                        \
        return result;                                                                                                 \
    } while (0)

#define MODE_OF(flags)                                                                                                 \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *name, int flags, ...) {
    REAL(open, int, const char *, int, ...);
    MODE_OF(flags)
    OPENED(AT_FDCWD, name, flags, real_open(name, flags, mode));
}

int open64(const char *name, int flags, ...) {
    REAL(open64, int, const char *, int, ...);
    MODE_OF(flags)
    OPENED(AT_FDCWD, name, flags, real_open64(name, flags, mode));
}

int openat(int folder, const char *name, int flags, ...) {
    REAL(openat, int, int, const char *, int, ...);
    MODE_OF(flags)
    OPENED(folder, name, flags, real_openat(folder, name, flags, mode));
}

int openat64(int folder, const char *name, int flags, ...) {
    REAL(openat64, int, int, const char *, int, ...);
    MODE_OF(flags)
    OPENED(folder, name, flags, real_openat64(folder, name, flags, mode));
}

#define WRITTEN(descriptor, size, whole, half)                                                                         \
    do {                                                                                                               \
        char path[LONGEST];                                                                                            \
        if (!opened(descriptor, path, 1)) return whole;                                                                \
        enum verdict verdict = enter("write", path);                                                                   \
        ssize_t result = verdict == PASS ? whole : verdict == PART && (size) > 1 ? half : -1;                          \
        if (verdict == PART && (size) <= 1) errno = control->error;                                                    \
        leave(NULL, path, NULL, 0);                                                                                    \
        return result;                                                                                                 \
    } while (0)

ssize_t write(int descriptor, const void *content, size_t size) {
    REAL(write, ssize_t, int, const void *, size_t);
    WRITTEN(descriptor, size, real_write(descriptor, content, size), real_write(descriptor, content, size / 2));
}

ssize_t pwrite(int descriptor, const void *content, size_t size, off_t offset) {
    REAL(pwrite, ssize_t, int, const void *, size_t, off_t);
    WRITTEN(descriptor, size, real_pwrite(descriptor, content, size, offset),
            real_pwrite(descriptor, content, size / 2, offset));
}

ssize_t pwrite64(int descriptor, const void *content, size_t size, off64_t offset) {
    REAL(pwrite64, ssize_t, int, const void *, size_t, off64_t);
    WRITTEN(descriptor, size, real_pwrite64(descriptor, content, size, offset),
            real_pwrite64(descriptor, content, size / 2, offset));
}

ssize_t writev(int descriptor, const struct iovec *pieces, int count) {
    REAL(writev, ssize_t, int, const struct iovec *, int);
    WRITTEN(descriptor, 0, real_writev(descriptor, pieces, count), -1);
}

#define SYNCED(descriptor)                                                                                             \
    do {                                                                                                               \
        char path[LONGEST];                                                                                            \
        struct stat found;                                                                                             \
        if (!opened(descriptor, path, 0)) return 0;                                                                    \
        int result = enter("fsync", path) == PASS ? 0 : -1;                                                            \
        int folder = fstat(descriptor, &found) == 0 && S_ISDIR(found.st_mode);                                         \
        char snapshot[LONGEST + 32];                                                                                   \
        snprintf(snapshot, sizeof snapshot, "%s/%llu", control->snapshots, (unsigned long long)control->count);        \
        if (result == 0 && !folder && control->log[0]) copy(descriptor, snapshot);                                     \
        leave(folder ? "fsync-folder" : "fsync", path, NULL, result == 0);                                             \
        return result;                                                                                                 \
    } while (0)

int fsync(int descriptor) { SYNCED(descriptor); }

int fdatasync(int descriptor) { SYNCED(descriptor); }

int close(int descriptor) {
    REAL(close, int, int);
    char path[LONGEST];
    if (!opened(descriptor, path, 1)) return real_close(descriptor);
    int passed = enter("close", path) == PASS;
    int result = real_close(descriptor); /* Linux closes it in any case */
    if (!passed) {
        errno = control->error;
        result = -1;
    }
    leave(NULL, path, NULL, 0);
    return result;
}

#define ONE_NAME(word, folder, name, call)                                                                             \
    do {                                                                                                               \
        char path[LONGEST];                                                                                            \
        if (!named(folder, name, path)) return call;                                                                   \
        int result = enter(word, path) == PASS ? call : -1;                                                            \
        leave(word, path, NULL, result == 0);                                                                          \
        return result;                                                                                                 \
    } while (0)

int mkdir(const char *name, mode_t mode) {
    REAL(mkdir, int, const char *, mode_t);
    ONE_NAME("mkdir", AT_FDCWD, name, real_mkdir(name, mode));
}

int mkdirat(int folder, const char *name, mode_t mode) {
    REAL(mkdirat, int, int, const char *, mode_t);
    ONE_NAME("mkdir", folder, name, real_mkdirat(folder, name, mode));
}

int unlink(const char *name) {
    REAL(unlink, int, const char *);
    ONE_NAME("unlink", AT_FDCWD, name, real_unlink(name));
}

int unlinkat(int folder, const char *name, int flags) {
    REAL(unlinkat, int, int, const char *, int);
    ONE_NAME(flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, name, real_unlinkat(folder, name, flags));
}

int rmdir(const char *name) {
    REAL(rmdir, int, const char *);
    ONE_NAME("rmdir", AT_FDCWD, name, real_rmdir(name));
}

int symlink(const char *target, const char *name) {
    REAL(symlink, int, const char *, const char *);
    ONE_NAME("symlink", AT_FDCWD, name, real_symlink(target, name));
}

int ftruncate64(int descriptor, off64_t size) {
    REAL(ftruncate64, int, int, off64_t);
    char path[LONGEST];
    if (!opened(descriptor, path, 1)) return real_ftruncate64(descriptor, size);
    int result = enter("truncate", path) == PASS ? real_ftruncate64(descriptor, size) : -1;
    leave(NULL, path, NULL, 0);
    return result;
}

#define TWO_NAMES(word, folder, name, other_folder, other_name, call)                                                  \
    do {                                                                                                               \
        char from[LONGEST], to[LONGEST];                                                                               \
        int here = named(folder, name, from), there = named(other_folder, other_name, to);                             \
        if (!here && !there) return call;                                                                              \
        int result = enter(word, there ? to : from) == PASS ? call : -1;                                               \
        leave(word, from, to, result == 0);                                                                            \
        return result;                                                                                                 \
    } while (0)

int rename(const char *name, const char *other) {
    REAL(rename, int, const char *, const char *);
    TWO_NAMES("rename", AT_FDCWD, name, AT_FDCWD, other, real_rename(name, other));
}

int renameat(int folder, const char *name, int other_folder, const char *other) {
    REAL(renameat, int, int, const char *, int, const char *);
    TWO_NAMES("rename", folder, name, other_folder, other, real_renameat(folder, name, other_folder, other));
}

int link(const char *name, const char *other) {
    REAL(link, int, const char *, const char *);
    TWO_NAMES("link", AT_FDCWD, name, AT_FDCWD, other, real_link(name, other));
}
