/* Faults in what a program writes, for LD_PRELOAD on Linux.
 *
 * Every call that changes something under HARNESS_INJECT_FOLDER is counted, by all processes
 * that inherit the environment, in one page that HARNESS_INJECT_PAGE names and they all map.
 * Who maps the page as well says which call is to fail, and how, while they run. What was called is
 * appended to HARNESS_INJECT_LOG, if that is set: time (CLOCK_MONOTONIC, ns), number, process,
 * call, bytes asked for, and path.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct page {
    _Atomic long calls; /* so far */
    long at;            /* number of the call that fails, from 1; 0 = none */
    long error;         /* errno that it fails with; 0 = it is carried out, but short */
    long every;         /* 0 = it alone, 1 = all later ones as well, 2 = every second one */
    long kinds;         /* bits of those calls that are counted at all */
    _Atomic long fired; /* calls that failed */
};
enum { OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, TRUNCATE = 16, MAKE = 32, REMOVE = 64, LINK = 128 };

static struct page *page;
static const char *folder;
static int log_fd = -1;

__attribute__((constructor)) static void start(void) {
    const char *page_path = getenv("HARNESS_INJECT_PAGE"), *log = getenv("HARNESS_INJECT_LOG");
    folder = getenv("HARNESS_INJECT_FOLDER");
    int fd = page_path ? syscall(SYS_openat, AT_FDCWD, page_path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0 || !folder) return;
    void *found = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (log)
        log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (found != MAP_FAILED) page = found;
}

static void of_descriptor(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX);
    out[length < 0 ? 0 : length] = 0;
}

static void of_name(int base, const char *name, char *out) {
    out[0] = 0;
    if (name[0] != '/') {
        if (base != AT_FDCWD) of_descriptor(base, out);
        else if (!getcwd(out, PATH_MAX)) return;
        strncat(out, "/", PATH_MAX);
    }
    strncat(out, name, PATH_MAX);
}

/* Count a call; the errno that it has to fail with, -1 for a short one, 0 for none. */
static int fault(int kind, const char *call, const char *path, size_t bytes) {
    if (!page || !(page->kinds & kind) || strncmp(path, folder, strlen(folder))) return 0;
    long number = atomic_fetch_add(&page->calls, 1) + 1;
    if (log_fd >= 0) {
        struct timespec now;
        char line[PATH_MAX + 128];
        clock_gettime(CLOCK_MONOTONIC, &now);
        int length = snprintf(line, sizeof line, "%lld %ld %d %s %zu %s\n",
            now.tv_sec * 1000000000LL + now.tv_nsec, number, getpid(), call, bytes, path);
        syscall(SYS_write, log_fd, line, length);
    }
    if (!page->at || number < page->at) return 0;
    if (number > page->at && (!page->every || (number - page->at) % page->every)) return 0;
    atomic_fetch_add(&page->fired, 1);
    return page->error ? (int)page->error : -1;
}

#define NAMED(kind, call, base, name, carried_out)                     \
    do {                                                               \
        char path[2 * PATH_MAX + 2];                                   \
        of_name(base, name, path);                                     \
        int error = fault(kind, call, path, 0);                        \
        if (error > 0) { errno = error; return -1; }                   \
        return carried_out;                                            \
    } while (0)
#define OPENED(kind, call, fd, carried_out)                            \
    do {                                                               \
        char path[2 * PATH_MAX + 2];                                   \
        int before = errno;                                            \
        of_descriptor(fd, path);                                       \
        errno = before;                                                \
        int error = fault(kind, call, path, 0);                        \
        if (error > 0) { errno = error; return -1; }                   \
        return carried_out;                                            \
    } while (0)

static int opened(int base, const char *name, int flags, mode_t mode) {
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & (O_CREAT | O_TRUNC)))
        return syscall(SYS_openat, base, name, flags, mode);
    NAMED(OPEN, "open", base, name, syscall(SYS_openat, base, name, flags, mode));
}
#define MODE(flags)                                                    \
    mode_t mode = 0;                                                   \
    if (flags & (O_CREAT | O_TMPFILE)) {                               \
        va_list list;                                                  \
        va_start(list, flags);                                         \
        mode = va_arg(list, mode_t);                                   \
        va_end(list);                                                  \
    }
int open(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int openat(int base, const char *name, int flags, ...) { MODE(flags) return opened(base, name, flags, mode); }
int openat64(int base, const char *name, int flags, ...) { MODE(flags) return opened(base, name, flags, mode); }

ssize_t write(int fd, const void *data, size_t bytes) {
    char path[2 * PATH_MAX + 2];
    int before = errno;
    of_descriptor(fd, path);
    errno = before;
    int error = fault(WRITE, "write", path, bytes);
    if (error > 0) { errno = error; return -1; }
    return syscall(SYS_write, fd, data, error < 0 && bytes > 1 ? bytes / 2 : bytes);
}
/* What Python does not call on the files of a run can fail, but not be short. */
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t at) {
    OPENED(WRITE, "pwrite", fd, syscall(SYS_pwrite64, fd, data, bytes, at));
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) { return pwrite64(fd, data, bytes, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    OPENED(WRITE, "writev", fd, syscall(SYS_writev, fd, parts, count));
}
ssize_t sendfile64(int to, int from, off_t *at, size_t bytes) {
    OPENED(WRITE, "sendfile", to, syscall(SYS_sendfile, to, from, at, bytes));
}
ssize_t sendfile(int to, int from, off_t *at, size_t bytes) { return sendfile64(to, from, at, bytes); }
ssize_t copy_file_range(int from, off_t *a, int to, off_t *b, size_t bytes, unsigned flags) {
    OPENED(WRITE, "copy", to, syscall(SYS_copy_file_range, from, a, to, b, bytes, flags));
}

int fsync(int fd) { OPENED(SYNC, "fsync", fd, syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { OPENED(SYNC, "fdatasync", fd, syscall(SYS_fdatasync, fd)); }
int ftruncate64(int fd, off_t size) { OPENED(TRUNCATE, "ftruncate", fd, syscall(SYS_ftruncate, fd, size)); }
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int renameat(int a, const char *from, int b, const char *to) {
    NAMED(RENAME, "rename", b, to, syscall(SYS_renameat2, a, from, b, to, 0));
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    NAMED(LINK, "link", b, to, syscall(SYS_linkat, a, from, b, to, flags));
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int mkdirat(int base, const char *name, mode_t mode) {
    NAMED(MAKE, "mkdir", base, name, syscall(SYS_mkdirat, base, name, mode));
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
int unlinkat(int base, const char *name, int flags) {
    NAMED(REMOVE, flags & AT_REMOVEDIR ? "rmdir" : "unlink", base, name, syscall(SYS_unlinkat, base, name, flags));
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
