/*
 * Many connections in one thread: every device is a coroutine that looks as if it blocked. A thread per device would
 * take the machine's processors away from the server that is looked at, because the kernel shares them by threads.
 *
 * What a device may call: pause_s, open_tls, close_tls, send_all, receive. Deadlines are in seconds of now_s().
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_BYTES (128 * 1024)
#define EVENTS_AT_ONCE 256

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what, const char *which) {
  fprintf(stderr, "storm-devices: %s%s%s\n", what, which ? ": " : "", which ? which : "");
  ERR_print_errors_fp(stderr);
  exit(2);
}

/* ---- coroutines ---- */

struct task {
  ucontext_t context;
  double wake;  /* INFINITY: only the socket wakes it */
  long at;      /* place in the heap of timers, -1: none */
  int timed_out, ended;
};

static ucontext_t loop;
static struct task *current;
static struct task **heap;
static long heap_size;
static int poll_fd = -1;

static void put_timer(long at, struct task *one) {
  heap[at] = one;
  one->at = at;
}

static void sift(long at) {
  struct task *one = heap[at];
  for (; at && heap[(at - 1) / 2]->wake > one->wake; at = (at - 1) / 2) put_timer(at, heap[(at - 1) / 2]);
  for (long child; (child = 2 * at + 1) < heap_size; at = child) {
    if (child + 1 < heap_size && heap[child + 1]->wake < heap[child]->wake) child++;
    if (heap[child]->wake >= one->wake) break;
    put_timer(at, heap[child]);
  }
  put_timer(at, one);
}

static void set_timer(struct task *one, double when) {
  one->wake = when;
  put_timer(heap_size++, one);
  sift(one->at);
}

static void clear_timer(struct task *one) {
  long at = one->at;
  if (at < 0) return;
  one->at = -1;
  if (at == --heap_size) return;
  put_timer(at, heap[heap_size]);
  sift(at);
}

static void resume(struct task *one, int timed_out) {
  clear_timer(one);
  one->timed_out = timed_out;
  current = one;
  swapcontext(&loop, &one->context);
  if (one->ended) munmap(one->context.uc_stack.ss_sp, STACK_BYTES);
}

static void pause_s(double seconds) {
  struct task *me = current;
  set_timer(me, now_s() + seconds);
  swapcontext(&me->context, &loop);
}

/* Waits for the socket; 0 when the deadline came first. */
static int wait_for(int fd, uint32_t events, double deadline) {
  struct task *me = current;
  struct epoll_event event = {.events = events | EPOLLONESHOT, .data.ptr = me};
  if (epoll_ctl(poll_fd, EPOLL_CTL_MOD, fd, &event) && epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll", strerror(errno));
  set_timer(me, deadline);
  swapcontext(&me->context, &loop);
  return !me->timed_out;
}

static void start_task(struct task *one, void (*body)(void)) {
  void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) die("no memory for a stack", NULL);
  getcontext(&one->context);
  one->context.uc_stack.ss_sp = stack;
  one->context.uc_stack.ss_size = STACK_BYTES;
  one->context.uc_link = &loop;
  one->at = -1;
  makecontext(&one->context, body, 0);
  set_timer(one, now_s());
}

/* Runs until no task is left that waits for anything: every one that waits has a timer. */
static void run_tasks(void) {
  struct epoll_event events[EVENTS_AT_ONCE];
  while (heap_size) {
    double left = heap[0]->wake - now_s();
    int count = epoll_wait(poll_fd, events, EVENTS_AT_ONCE, left <= 0 ? 0 : (int)fmin(ceil(left * 1e3), 60e3));
    for (int i = 0; i < count; i++) resume(events[i].data.ptr, 0);
    for (double now = now_s(); heap_size && heap[0]->wake <= now;) resume(heap[0], 1);
  }
}

/* ---- TLS ---- */

enum end { OPEN, REFUSED, TIMED_OUT, LOST };

struct line {
  int fd;
  SSL *ssl;
  enum end end;
};

static SSL_CTX *context;

static int over(struct line *line, enum end how) {
  line->end = how;
  return 0;
}

static void close_tls(struct line *line) {
  if (line->ssl) {
    SSL_shutdown(line->ssl); /* close_notify; the answer is not waited for */
    SSL_free(line->ssl);
    line->ssl = NULL;
    ERR_clear_error();
  }
  if (line->fd > 0) close(line->fd);
  line->fd = 0;
}

/* After a call on the connection that did not succeed: waits until it is worth repeating, or says how it ended. */
static int again(struct line *line, int result, double deadline) {
  int why = SSL_get_error(line->ssl, result);
  ERR_clear_error();
  if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) return over(line, LOST);
  if (wait_for(line->fd, why == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT, deadline)) return 1;
  return over(line, TIMED_OUT);
}

static int open_tcp(struct line *line, struct in_addr from, struct sockaddr_in to, double deadline) {
  int yes = 1, error = 0;
  socklen_t size = sizeof error;
  line->end = OPEN;
  line->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (line->fd < 0) die("no socket", strerror(errno));
  struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr = from};
  setsockopt(line->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
  setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (from.s_addr && bind(line->fd, (struct sockaddr *)&source, sizeof source)) die("cannot bind a source", strerror(errno));
  if (!connect(line->fd, (struct sockaddr *)&to, sizeof to)) return 1;
  if (errno != EINPROGRESS) return over(line, REFUSED);
  if (!wait_for(line->fd, EPOLLOUT, deadline)) return over(line, TIMED_OUT);
  getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error ? over(line, REFUSED) : 1;
}

/* A connection whose server was verified as `name`; the client shows `certificate` where it has one. */
static int open_tls(struct line *line, struct in_addr from, struct sockaddr_in to, const char *name, X509 *certificate,
                    EVP_PKEY *key, STACK_OF(X509) * chain, double deadline) {
  if (!open_tcp(line, from, to, deadline)) return 0;
  line->ssl = SSL_new(context);
  if (certificate && SSL_use_cert_and_key(line->ssl, certificate, key, chain, 1) != 1) die("a device's certificate does not fit", NULL);
  struct in_addr parsed;
  if (inet_pton(AF_INET, name, &parsed) == 1) X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(line->ssl), name);
  else SSL_set1_host(line->ssl, name), SSL_set_tlsext_host_name(line->ssl, name);
  SSL_set_fd(line->ssl, line->fd);
  for (int result; (result = SSL_connect(line->ssl)) != 1;) {
    if (SSL_get_verify_result(line->ssl) != X509_V_OK) die("the server's certificate is not trusted", NULL);
    if (!again(line, result, deadline)) return 0;
  }
  return 1;
}

static int send_all(struct line *line, const void *bytes, int length, double deadline) {
  for (int result; (result = SSL_write(line->ssl, bytes, length)) <= 0;)
    if (!again(line, result, deadline)) return 0;
  return 1;
}

/* At least one byte, at most `room`; 0 when the connection ended or the deadline came. */
static int receive(struct line *line, void *into, int room, double deadline) {
  for (;;) {
    int got = SSL_read(line->ssl, into, room);
    if (got > 0) return got;
    if (!again(line, got, deadline)) return 0;
  }
}

/* Whether the server has closed a connection that nobody reads from at the moment. */
static int is_closed(struct line *line) {
  char byte;
  int got = SSL_peek(line->ssl, &byte, 1);
  int why = SSL_get_error(line->ssl, got);
  ERR_clear_error();
  return got <= 0 && why != SSL_ERROR_WANT_READ;
}
