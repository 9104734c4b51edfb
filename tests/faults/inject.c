/* Counts the file operations of a program below one folder, and has one of them go wrong.
 *
 * Loaded with LD_PRELOAD. FAULT_ROOT is the folder, FAULT_COUNTER a file that all processes of the program share, FAULT_AT the
 * number of the operation, and FAULT_MODE what happens to it:
 *
 *   count        nothing
 *   kill-before  the process is killed before it
 *   kill-after   the process is killed after it
 *   short        the first write from there on writes half, and there is no more room afterwards
 *   eio          it fails with EIO
 *   enospc       it, and all after it that need room, fail with ENOSPC
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* What the processes share. */
struct shared {
    _Atomic long operations;
    _Atomic long fired;
    char what[4080];
};

enum mode { COUNT, KILL_BEFORE, KILL_AFTER, SHORT, FAIL_EIO, FAIL_ENOSPC };
enum need { NEEDS_ROOM, WRITES, NEEDS_NONE };
enum verdict { GO_ON, HALF, DIE_AFTER, FAIL };

static struct shared *shared;
static char root[PATH_MAX];
static long at;
static enum mode mode;

__attribute__((constructor)) static void begin(void)
{
    static const char *const names[] = {"count", "kill-before", "kill-after", "short", "eio", "enospc"};
    const char *counter = getenv("FAULT_COUNTER"), *folder = getenv("FAULT_ROOT");
    const char *number = getenv("FAULT_AT"), *name = getenv("FAULT_MODE");
    if (!counter || !folder || !number || !name)
        return;
    for (int i = 0; i < 6; i++)
        if (!strcmp(name, names[i]))
            mode = i;
    snprintf(root, sizeof root, "%s", folder);
    at = atol(number);
    int fd = syscall(SYS_openat, AT_FDCWD, counter, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        shared = map;
}

static int is_below(const char *path)
{
    size_t n = strlen(root);
    return n && !strncmp(path, root, n) && (path[n] == '/' || !path[n]);
}

/* The path of the descriptor that was looked at last. */
static __thread char of_fd[PATH_MAX];

static int fd_is_below(int fd)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, of_fd, sizeof of_fd - 1);
    of_fd[n > 0 ? n : 0] = 0;
    return n > 0 && is_below(of_fd);
}

static int path_is_below(int folder, const char *path)
{
    if (!path)
        return 0;
    if (path[0] == '/')
        return is_below(path);
    if (folder != AT_FDCWD)
        return fd_is_below(folder);
    char here[PATH_MAX];
    return getcwd(here, sizeof here) && is_below(here);
}

/* What is to become of the next operation. */
static enum verdict next(enum need need, const char *name, const char *path)
{
    long n = atomic_fetch_add(&shared->operations, 1) + 1;
    if (n == at)
        snprintf(shared->what, sizeof shared->what, "%s %s", name, path ? path : "");
    switch (mode) {
    case KILL_BEFORE:
        if (n == at)
            kill(getpid(), SIGKILL);
        break;
    case KILL_AFTER:
        return n == at ? DIE_AFTER : GO_ON;
    case FAIL_EIO:
        if (n == at) {
            errno = EIO;
            return FAIL;
        }
        break;
    case FAIL_ENOSPC:
        if (n >= at && need != NEEDS_NONE) {
            errno = ENOSPC;
            return FAIL;
        }
        break;
    case SHORT:
        if (n >= at && need == WRITES && !atomic_exchange(&shared->fired, 1))
            return HALF;
        if (shared->fired && need != NEEDS_NONE) {
            errno = ENOSPC;
            return FAIL;
        }
        break;
    default:
        break;
    }
    return GO_ON;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* An operation that is all or nothing. */
#define WHOLE(counts, need, path, call)                                   \
    do {                                                                  \
        enum verdict verdict = shared && (counts) ? next(need, __func__, path) : GO_ON; \
        if (verdict == FAIL)                                              \
            return -1;                                                    \
        __typeof__(call) done = call;                                     \
        if (verdict == DIE_AFTER)                                         \
            kill(getpid(), SIGKILL);                                      \
        return done;                                                      \
    } while (0)

/* An operation on so many bytes. */
#define PARTLY(counts, path, bytes, call)                                 \
    do {                                                                  \
        enum verdict verdict = shared && (counts) ? next(WRITES, __func__, path) : GO_ON; \
        if (verdict == FAIL)                                              \
            return -1;                                                    \
        if (verdict == HALF)                                              \
            bytes = bytes / 2;                                            \
        __typeof__(call) done = call;                                     \
        if (verdict == DIE_AFTER)                                         \
            kill(getpid(), SIGKILL);                                      \
        return done;                                                      \
    } while (0)

static int changes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

#define MODE_OF(flags)                                                    \
    mode_t bits = 0;                                                      \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        bits = va_arg(rest, mode_t);                                      \
        va_end(rest);                                                     \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    REAL(open);
    WHOLE(changes(flags) && path_is_below(AT_FDCWD, path), flags & O_CREAT ? NEEDS_ROOM : NEEDS_NONE, path,
          real(path, flags, bits));
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags)
    REAL(open64);
    WHOLE(changes(flags) && path_is_below(AT_FDCWD, path), flags & O_CREAT ? NEEDS_ROOM : NEEDS_NONE, path,
          real(path, flags, bits));
}

int openat(int folder, const char *path, int flags, ...)
{
    MODE_OF(flags)
    REAL(openat);
    WHOLE(changes(flags) && path_is_below(folder, path), flags & O_CREAT ? NEEDS_ROOM : NEEDS_NONE, path,
          real(folder, path, flags, bits));
}

int openat64(int folder, const char *path, int flags, ...)
{
    MODE_OF(flags)
    REAL(openat64);
    WHOLE(changes(flags) && path_is_below(folder, path), flags & O_CREAT ? NEEDS_ROOM : NEEDS_NONE, path,
          real(folder, path, flags, bits));
}

ssize_t write(int fd, const void *from, size_t bytes)
{
    REAL(write);
    PARTLY(fd_is_below(fd), of_fd, bytes, real(fd, from, bytes));
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t place)
{
    REAL(pwrite);
    PARTLY(fd_is_below(fd), of_fd, bytes, real(fd, from, bytes, place));
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off64_t place)
{
    REAL(pwrite64);
    PARTLY(fd_is_below(fd), of_fd, bytes, real(fd, from, bytes, place));
}

ssize_t writev(int fd, const struct iovec *from, int parts)
{
    REAL(writev);
    WHOLE(fd_is_below(fd), NEEDS_ROOM, of_fd, real(fd, from, parts));
}

ssize_t copy_file_range(int from, off64_t *from_place, int to, off64_t *to_place, size_t bytes, unsigned flags)
{
    REAL(copy_file_range);
    PARTLY(fd_is_below(to), of_fd, bytes, real(from, from_place, to, to_place, bytes, flags));
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    WHOLE(path_is_below(AT_FDCWD, to), NEEDS_NONE, to, real(from, to));
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    REAL(renameat);
    WHOLE(path_is_below(to_folder, to), NEEDS_NONE, to, real(from_folder, from, to_folder, to));
}

int unlink(const char *path)
{
    REAL(unlink);
    WHOLE(path_is_below(AT_FDCWD, path), NEEDS_NONE, path, real(path));
}

int unlinkat(int folder, const char *path, int flags)
{
    REAL(unlinkat);
    WHOLE(path_is_below(folder, path), NEEDS_NONE, path, real(folder, path, flags));
}

int rmdir(const char *path)
{
    REAL(rmdir);
    WHOLE(path_is_below(AT_FDCWD, path), NEEDS_NONE, path, real(path));
}

int mkdir(const char *path, mode_t bits)
{
    REAL(mkdir);
    WHOLE(path_is_below(AT_FDCWD, path), NEEDS_ROOM, path, real(path, bits));
}

int link(const char *from, const char *to)
{
    REAL(link);
    WHOLE(path_is_below(AT_FDCWD, to), NEEDS_ROOM, to, real(from, to));
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    REAL(linkat);
    WHOLE(path_is_below(to_folder, to), NEEDS_ROOM, to, real(from_folder, from, to_folder, to, flags));
}

int symlink(const char *target, const char *path)
{
    REAL(symlink);
    WHOLE(path_is_below(AT_FDCWD, path), NEEDS_ROOM, path, real(target, path));
}

int fsync(int fd)
{
    REAL(fsync);
    WHOLE(fd_is_below(fd), NEEDS_NONE, of_fd, real(fd));
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    WHOLE(fd_is_below(fd), NEEDS_NONE, of_fd, real(fd));
}

int ftruncate(int fd, off_t bytes)
{
    REAL(ftruncate);
    WHOLE(fd_is_below(fd), NEEDS_NONE, of_fd, real(fd, bytes));
}

int ftruncate64(int fd, off64_t bytes)
{
    REAL(ftruncate64);
    WHOLE(fd_is_below(fd), NEEDS_NONE, of_fd, real(fd, bytes));
}
