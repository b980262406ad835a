/* A disk for tests: preloaded, it stands between a process and the files of its journal.
 *
 * It writes down what the process does to them, so that a test can tell what a loss of power would
 * have left (image.rs), and fails, delays or only pretends what it is told to (shim.rs):
 *
 *   DISK_SHIM_DIRECTORY  the directory whose files named journal.db* it watches; not the lock, nor the
 *                        index, which is shared memory
 *   DISK_SHIM_LOG        where to write down; then nothing is really synced, since the log decides
 *   DISK_SHIM_TERSE      the log leaves out what is written
 *   DISK_SHIM_DELAY_US   how long a sync takes
 *   DISK_SHIM_FAULT      sync: one fails, and what it was to sync may never reach the disk
 *                        names: those of the directory fail
 *                        full: from one write on, which is cut, there is no space
 *                        lie: syncs do nothing, and say nothing
 *                        readonly, denied: files can't be opened for writing
 *   DISK_SHIM_AFTER      which sync or write, counted from 1
 *   DISK_SHIM_TRIGGER    counting begins when this file exists
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char directory[PATH_MAX];
static int events = -1;
static long delay, after, counted;
static int is_full, is_terse;
static const char *fault = "", *trigger;

__attribute__((constructor)) static void begin(void) {
    const char *text;
    if ((text = getenv("DISK_SHIM_DIRECTORY")) && !realpath(text, directory)) abort();
    if ((text = getenv("DISK_SHIM_LOG"))) {
        events = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (events < 0) abort();
    }
    if ((text = getenv("DISK_SHIM_DELAY_US"))) delay = atol(text);
    if ((text = getenv("DISK_SHIM_AFTER"))) after = atol(text);
    if ((text = getenv("DISK_SHIM_FAULT"))) fault = text;
    trigger = getenv("DISK_SHIM_TRIGGER");
    is_terse = getenv("DISK_SHIM_TERSE") != NULL;
}

static int faulty(const char *kind) { return strcmp(fault, kind) == 0; }

/* Whether the fault strikes now. */
static int strikes(void) {
    if (trigger && syscall(SYS_faccessat, AT_FDCWD, trigger, F_OK) != 0) return 0;
    return ++counted == after;
}

/* The name of a file that is watched, "" for the directory itself, NULL for any other. */
static const char *watched(const char *path) {
    size_t length = strlen(directory);
    if (!length || strncmp(path, directory, length) != 0) return NULL;
    if (path[length] == 0) return "";
    const char *name = path + length + 1;
    if (path[length] != '/' || strncmp(name, "journal.db", 10) != 0) return NULL;
    return strstr(name, ".lock") || strstr(name, "-shm") ? NULL : name;
}

static const char *watched_file(int file, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return watched(path);
}

static const char *watched_path(const char *path, char *whole) {
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!directory[0] || !slash || slash - path >= PATH_MAX) return NULL;
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = 0;
    if (!realpath(parent[0] ? parent : "/", whole)) return NULL;
    if (strlen(whole) + strlen(slash) >= PATH_MAX) return NULL;
    return watched(strcat(whole, slash));
}

struct event {
    char kind; /* Created, Written, Truncated, Synced, Failed to sync, Directory synced, Unlinked */
    uint8_t name;
    uint16_t unused;
    uint32_t length;
    uint64_t offset;
};

static void note(char kind, const char *name, uint64_t offset, const void *data, size_t length) {
    if (events < 0) return;
    if (is_terse) length = 0;
    struct event event = {kind, (uint8_t)strlen(name), 0, (uint32_t)length, offset};
    struct iovec parts[] = {{&event, sizeof event}, {(void *)name, strlen(name)}, {(void *)data, length}};
    ssize_t whole = (ssize_t)(sizeof event + strlen(name) + length);
    if (syscall(SYS_writev, events, parts, 3) != whole) abort();
}

static ssize_t written(int file, const void *data, size_t length, off_t offset, int seeks) {
    char path[PATH_MAX];
    const char *name = directory[0] ? watched_file(file, path) : NULL;
    if (!name) {
        return seeks ? syscall(SYS_pwrite64, file, data, length, offset) : syscall(SYS_write, file, data, length);
    }
    pthread_mutex_lock(&lock);
    ssize_t result = -1;
    if (faulty("full") && (is_full || strikes())) {
        length = is_full ? 0 : length / 2;
        is_full = 1;
    }
    if (length == 0 && is_full) {
        errno = ENOSPC;
    } else {
        if (!seeks) offset = syscall(SYS_lseek, file, 0, SEEK_CUR);
        note('W', name, (uint64_t)offset, data, length);
        result = seeks ? syscall(SYS_pwrite64, file, data, length, offset) : syscall(SYS_write, file, data, length);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int file, const void *data, size_t length) { return written(file, data, length, 0, 0); }
ssize_t pwrite(int file, const void *data, size_t length, off_t at) { return written(file, data, length, at, 1); }
ssize_t pwrite64(int file, const void *data, size_t length, off64_t at) { return written(file, data, length, at, 1); }

static int synced(int file, long call) {
    char path[PATH_MAX];
    const char *name = directory[0] ? watched_file(file, path) : NULL;
    if (!name) return (int)syscall(call, file);
    if (delay) usleep((useconds_t)delay);
    pthread_mutex_lock(&lock);
    int result = 0;
    if ((faulty("sync") && strikes()) || (faulty("names") && !*name)) {
        note('F', name, 0, NULL, 0);
        errno = EIO;
        result = -1;
    } else if (!faulty("lie")) {
        if (events < 0 && !delay) result = (int)syscall(call, file);
        note(*name ? 'S' : 'D', name, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int file) { return synced(file, SYS_fsync); }
int fdatasync(int file) { return synced(file, SYS_fdatasync); }

static int truncated(int file, off_t length) {
    char path[PATH_MAX];
    const char *name = directory[0] ? watched_file(file, path) : NULL;
    if (!name) return (int)syscall(SYS_ftruncate, file, length);
    pthread_mutex_lock(&lock);
    note('T', name, (uint64_t)length, NULL, 0);
    int result = (int)syscall(SYS_ftruncate, file, length);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int file, off_t length) { return truncated(file, length); }
int ftruncate64(int file, off64_t length) { return truncated(file, length); }

static int opened(int at, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    const char *name = at == AT_FDCWD || path[0] == '/' ? watched_path(path, whole) : NULL;
    if (!name) return (int)syscall(SYS_openat, at, path, flags, mode);
    if ((flags & O_ACCMODE) != O_RDONLY && (faulty("readonly") || faulty("denied"))) {
        errno = faulty("denied") ? EACCES : EROFS;
        return -1;
    }
    pthread_mutex_lock(&lock);
    int is_new = (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    if (is_new) note('C', name, 0, NULL, 0);
    if (flags & O_TRUNC) note('T', name, 0, NULL, 0);
    int result = (int)syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_unlock(&lock);
    return result;
}

#define MODE(flags)                                                                                \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                       \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }

int unlink(const char *path) {
    char whole[PATH_MAX];
    const char *name = watched_path(path, whole);
    pthread_mutex_lock(&lock);
    if (name) note('U', name, 0, NULL, 0);
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
