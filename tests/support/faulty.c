// Calls that fail: a library to be preloaded. The n-th call of some kinds, on files below a folder, fails as on a broken disk.
//
// One of the kind SHORT does not fail: it reads or writes one byte where more were asked for, as a kernel may.
//
// faulty_arm(n, kinds, folder) counts from 1; 0 fails nothing and counts on. faulty_count() gives how many calls there were.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, PLACE = 16, ROOM = 32, SHORT = 64 };
// The core asks for more than this by mmap, and gives it back, before it takes memory (rust/kvmfw-core/src/room.rs).
#define LARGE ((size_t)32 << 20)

static atomic_long calls, failing;
static atomic_int kinds;
static char below[4096];

void faulty_arm(long n, int some, const char *folder) {
    snprintf(below, sizeof below, "%s", folder);
    atomic_store(&calls, 0);
    atomic_store(&failing, n);
    atomic_store(&kinds, some);
}

long faulty_count(void) { return atomic_load(&calls); }

static int is_below(const char *path) {
    char whole[8192];
    if (path[0] == '/') return strncmp(path, below, strlen(below)) == 0;
    if (!getcwd(whole, sizeof whole)) return 0;
    return strncmp(whole, below, strlen(below)) == 0;
}

// Whether this call is the one that fails.
static int strikes(int kind) {
    if (!(atomic_load(&kinds) & kind)) return 0;
    return atomic_fetch_add(&calls, 1) + 1 == atomic_load(&failing);
}

static int strikes_path(int kind, const char *path) {
    return (atomic_load(&kinds) & kind) && is_below(path) && strikes(kind);
}

static int strikes_file(int kind, int file) {
    if (!(atomic_load(&kinds) & kind)) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path) && strikes(kind);
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAIL(number) do { errno = (number); return -1; } while (0)

#define OPENS(name)                                              \
    int name(const char *path, int flags, ...) {                 \
        REAL(name);                                              \
        va_list more;                                            \
        va_start(more, flags);                                   \
        mode_t mode = va_arg(more, mode_t);                      \
        va_end(more);                                            \
        if (strikes_path(OPEN, path)) FAIL(EIO);                 \
        return real(path, flags, mode);                          \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                           \
    int name(int folder, const char *path, int flags, ...) {     \
        REAL(name);                                              \
        va_list more;                                            \
        va_start(more, flags);                                   \
        mode_t mode = va_arg(more, mode_t);                      \
        va_end(more);                                            \
        if (strikes_path(OPEN, path)) FAIL(EIO);                 \
        return real(folder, path, flags, mode);                  \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

#define READS(name, more, given)                                 \
    ssize_t name(int file, void *data, size_t size more) {       \
        REAL(name);                                              \
        if (strikes_file(READ, file)) FAIL(EIO);                 \
        if (size > 1 && strikes_file(SHORT, file)) size = 1;     \
        return real(file, data, size given);                     \
    }
#define COMMA ,
READS(read, , )
READS(pread, COMMA off_t at, COMMA at)
READS(pread64, COMMA off64_t at, COMMA at)

#define WRITES(name, more, given)                                \
    ssize_t name(int file, const void *data, size_t size more) { \
        REAL(name);                                              \
        if (strikes_file(WRITE, file)) FAIL(ENOSPC);             \
        if (size > 1 && strikes_file(SHORT, file)) size = 1;     \
        return real(file, data, size given);                     \
    }
WRITES(write, , )
WRITES(pwrite, COMMA off_t at, COMMA at)
WRITES(pwrite64, COMMA off64_t at, COMMA at)

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    if (strikes_file(WRITE, file)) FAIL(ENOSPC);
    if (count > 1 && strikes_file(SHORT, file)) count = 1;
    return real(file, parts, count);
}

#define ON_FILE(name, kind, declared, given)                     \
    int name declared {                                          \
        REAL(name);                                              \
        if (strikes_file(kind, file)) FAIL(EIO);                 \
        return real given;                                       \
    }
ON_FILE(fsync, SYNC, (int file), (file))
ON_FILE(fdatasync, SYNC, (int file), (file))
ON_FILE(ftruncate, WRITE, (int file, off_t size), (file, size))
ON_FILE(ftruncate64, WRITE, (int file, off64_t size), (file, size))

#define ON_PATH(name, declared, given)                           \
    int name declared {                                          \
        REAL(name);                                              \
        if (strikes_path(PLACE, path)) FAIL(EIO);                \
        return real given;                                       \
    }
ON_PATH(rename, (const char *other, const char *path), (other, path))
ON_PATH(renameat, (int from, const char *other, int to, const char *path), (from, other, to, path))
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
ON_PATH(symlink, (const char *named, const char *path), (named, path))
ON_PATH(chmod, (const char *path, mode_t mode), (path, mode))
ON_PATH(unlink, (const char *path), (path))
ON_PATH(rmdir, (const char *path), (path))

#define MAPS(name, offset)                                                                     \
    void *name(void *at, size_t size, int protection, int flags, int file, offset start) {   \
        REAL(name);                                                                          \
        if ((flags & MAP_ANONYMOUS) && size > LARGE && strikes(ROOM)) {                       \
            errno = ENOMEM;                                                                  \
            return MAP_FAILED;                                                               \
        }                                                                                    \
        return real(at, size, protection, flags, file, start);                               \
    }
MAPS(mmap, off_t)
MAPS(mmap64, off64_t)
