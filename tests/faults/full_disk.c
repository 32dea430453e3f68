/* Preloaded into a process: while the file that FULL_DISK_SWITCH names is there, the disk that holds
 * the folder FULL_DISK is full.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_full(int file) {
  const char *folder = getenv("FULL_DISK"), *on = getenv("FULL_DISK_SWITCH");
  if (!folder || !on || access(on, F_OK) != 0) return 0;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path);
  size_t begin = strlen(folder);
  if (length < (ssize_t)begin || strncmp(path, folder, begin) != 0) return 0;
  errno = ENOSPC;
  return 1;
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *from, size_t count) {
  return is_full(file) ? -1 : REAL(write)(file, from, count);
}

ssize_t writev(int file, const struct iovec *from, int count) {
  return is_full(file) ? -1 : REAL(writev)(file, from, count);
}

ssize_t pwrite(int file, const void *from, size_t count, off_t where) {
  return is_full(file) ? -1 : REAL(pwrite)(file, from, count, where);
}

ssize_t pwrite64(int file, const void *from, size_t count, off64_t where) {
  return is_full(file) ? -1 : REAL(pwrite64)(file, from, count, where);
}

int fallocate(int file, int mode, off_t where, off_t count) {
  return is_full(file) ? -1 : REAL(fallocate)(file, mode, where, count);
}
