/* Preloaded into the processes of a server: shifts the wall clock that those see which are Python
 * themselves, and no other clock.
 *
 * Not Triton's: it has the kernel wait until a time of the wall clock, which only the kernel could
 * shift.
 *
 * The shift, in whole seconds, is the first eight bytes of the file that CLOCK_SHIFT_FILE names; it
 * may change while they run.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *shift_seconds;

__attribute__((constructor)) static void map_shift(void) {
  char program[PATH_MAX] = "";
  if (readlink("/proc/self/exe", program, sizeof program - 1) < 0 || strstr(program, "triton"))
    return;
  const char *path = getenv("CLOCK_SHIFT_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) shift_seconds = page;
  close(file);
}

static int64_t shift(void) { return shift_seconds ? *shift_seconds : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
  int status = (int)syscall(SYS_clock_gettime, clock, now);
  if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += shift();
  return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  int status = (int)syscall(SYS_gettimeofday, now, zone);
  if (status == 0 && now) now->tv_sec += shift();
  return status;
}

time_t time(time_t *stored) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (stored) *stored = now.tv_sec;
  return now.tv_sec;
}
