/*
 * Records what a process does to the files of one folder, in order: what a disk would have to do. Preloaded into the
 * process under test (LD_PRELOAD); power-loss-disk.ts reads the record and rebuilds what a loss of power could leave.
 *
 *   RECORD_FOLDER  the folder, without a slash at the end; empty at the start
 *   RECORD_FILE    where the record goes; outside the folder
 *
 * A record: u8 kind, u32 file, u64 offset, u32 length, then `length` bytes; little-endian. Kinds:
 *   C create (bytes: name)   W write at offset   T truncate to offset   S sync of a file
 *   U unlink (name)          R rename (old NUL new)                     D sync of the folder
 * One lock around each call keeps the record in the order in which things happened. Memory mappings are not seen:
 * SQLite maps only the -shm file, which is not durable state.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096
#define FDS 4096
#define FOLDER UINT32_MAX

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder;
static size_t folder_length;
static int record_fd = -1;
static char *names[FILES]; /* of files that exist, by number */
static uint32_t files;
static uint32_t number_of[FDS]; /* by descriptor; 0: not ours */

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) abort();
  return found;
}

__attribute__((constructor)) static void start(void) {
  folder = getenv("RECORD_FOLDER");
  const char *file = getenv("RECORD_FILE");
  if (folder == NULL || file == NULL) return;
  folder_length = strlen(folder);
  record_fd = REAL(open)(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (record_fd < 0) abort();
}

static void record(char kind, uint32_t file, uint64_t offset, const void *bytes, uint32_t length) {
  unsigned char head[17];
  head[0] = (unsigned char)kind;
  memcpy(head + 1, &file, 4);
  memcpy(head + 5, &offset, 8);
  memcpy(head + 13, &length, 4);
  struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, length}};
  if (REAL(writev)(record_fd, parts, 2) != (ssize_t)(sizeof head + length)) abort();
}

/* The name within the folder, "" for the folder itself, NULL for anything else. */
static const char *within(const char *path) {
  if (record_fd < 0 || strncmp(path, folder, folder_length) != 0) return NULL;
  if (path[folder_length] == 0) return "";
  return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

static uint32_t find(const char *name) {
  for (uint32_t file = 1; file <= files; file++)
    if (names[file] != NULL && strcmp(names[file], name) == 0) return file;
  return 0;
}

static void forget(const char *name) {
  uint32_t file = find(name);
  if (file == 0) return;
  free(names[file]);
  names[file] = NULL;
}

static void opened(int fd, const char *name, int flags) {
  if (fd < 0 || fd >= FDS) return;
  if (*name == 0) {
    number_of[fd] = FOLDER;
    return;
  }
  uint32_t file = find(name);
  if (file == 0) {
    if (++files >= FILES) abort();
    file = files;
    names[file] = strdup(name);
    record('C', file, 0, name, (uint32_t)strlen(name));
  } else if (flags & O_TRUNC) {
    record('T', file, 0, NULL, 0);
  }
  number_of[fd] = file;
}

#define OPEN(symbol, declared, passed)                          \
  int symbol declared {                                         \
    mode_t mode = 0;                                            \
    if (flags & O_CREAT) {                                      \
      va_list more;                                             \
      va_start(more, flags);                                    \
      mode = va_arg(more, mode_t);                              \
      va_end(more);                                             \
    }                                                           \
    const char *name = within(path);                            \
    if (name == NULL) return REAL(symbol) passed;               \
    pthread_mutex_lock(&lock);                                  \
    int fd = REAL(symbol) passed;                               \
    opened(fd, name, flags);                                    \
    pthread_mutex_unlock(&lock);                                \
    return fd;                                                  \
  }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

static uint32_t ours(int fd) { return fd >= 0 && fd < FDS ? number_of[fd] : 0; }

int close(int fd) {
  if (ours(fd) == 0) return REAL(close)(fd);
  pthread_mutex_lock(&lock);
  number_of[fd] = 0;
  int result = REAL(close)(fd);
  pthread_mutex_unlock(&lock);
  return result;
}

static ssize_t written(ssize_t result, uint32_t file, off64_t offset, const void *bytes) {
  if (result > 0) record('W', file, (uint64_t)offset, bytes, (uint32_t)result);
  pthread_mutex_unlock(&lock);
  return result;
}

ssize_t write(int fd, const void *bytes, size_t length) {
  uint32_t file = ours(fd);
  if (file == 0) return REAL(write)(fd, bytes, length);
  pthread_mutex_lock(&lock);
  off64_t at = lseek64(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
  return written(REAL(write)(fd, bytes, length), file, at, bytes);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  uint32_t file = ours(fd);
  if (file == 0) return REAL(pwrite64)(fd, bytes, length, offset);
  pthread_mutex_lock(&lock);
  return written(REAL(pwrite64)(fd, bytes, length, offset), file, offset, bytes);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

/* Vectors become single writes: the order is the same, and a short write is allowed. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (ours(fd) == 0) return REAL(writev)(fd, parts, count);
  return count > 0 ? write(fd, parts[0].iov_base, parts[0].iov_len) : 0;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  if (ours(fd) == 0) return REAL(pwritev)(fd, parts, count, offset);
  return count > 0 ? pwrite64(fd, parts[0].iov_base, parts[0].iov_len, offset) : 0;
}

int ftruncate64(int fd, off64_t size) {
  uint32_t file = ours(fd);
  if (file == 0) return REAL(ftruncate64)(fd, size);
  pthread_mutex_lock(&lock);
  int result = REAL(ftruncate64)(fd, size);
  if (result == 0) record('T', file, (uint64_t)size, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

#define SYNC(symbol)                                                              \
  int symbol(int fd) {                                                            \
    uint32_t file = ours(fd);                                                     \
    if (file == 0) return REAL(symbol)(fd);                                       \
    pthread_mutex_lock(&lock);                                                    \
    int result = REAL(symbol)(fd);                                                \
    if (result == 0) record(file == FOLDER ? 'D' : 'S', file, 0, NULL, 0);        \
    pthread_mutex_unlock(&lock);                                                  \
    return result;                                                                \
  }

SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path) {
  const char *name = within(path);
  if (name == NULL) return REAL(unlink)(path);
  pthread_mutex_lock(&lock);
  int result = REAL(unlink)(path);
  if (result == 0) {
    record('U', find(name), 0, name, (uint32_t)strlen(name));
    forget(name);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

int rename(const char *from, const char *to) {
  const char *old = within(from), *new = within(to);
  if (old == NULL || new == NULL) return REAL(rename)(from, to);
  pthread_mutex_lock(&lock);
  int result = REAL(rename)(from, to);
  if (result == 0) {
    char both[8192];
    int length = snprintf(both, sizeof both, "%s%c%s", old, 0, new);
    uint32_t file = find(old);
    record('R', file, 0, both, (uint32_t)length);
    forget(new);
    free(names[file]);
    names[file] = strdup(new);
  }
  pthread_mutex_unlock(&lock);
  return result;
}
