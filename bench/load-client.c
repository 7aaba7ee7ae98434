/*
 * A load client that costs little: N TLS connections in all, C at a time, each with its own device identity.
 *
 *   bare:      one GET, close. The price of a mutual-TLS request that does nothing.
 *   register:  PUT …/register, then GET …/operations/… every --poll-ms until it is assigned, close. What a device does.
 *
 * cc -O2 -o load-client load-client.c -lssl -lcrypto -lpthread
 * load-client --mode bare|register --address 127.0.0.1 --port 443 --name HOST --ca FILE --identities FILE
 *             --total N --concurrency C [--scope 0ne…] [--path /] [--poll-ms 20]
 *
 * The identities file has one device per line, fields separated by tabs; connection i is device i modulo their number:
 *   registration ID <tab> x509 <tab> base64 of its certificate and of its issuers, with commas between <tab> base64 of its key
 *   registration ID <tab> sas  <tab> value of the Authorization header
 *   registration ID <tab> none
 * The server certificate is always verified. Prints one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define IO_TIMEOUT_S 15
#define REGISTER_TIMEOUT_S 30.0
#define REQUEST_BYTES 4096
#define RESPONSE_BYTES 16384
#define REASON_BYTES 256

struct identity {
  char *registration_id;
  char *authorization; /* SAS, or NULL */
  X509 *certificate;   /* X.509, or NULL */
  STACK_OF(X509) * chain;
  EVP_PKEY *key;
};

static struct {
  const char *mode, *address, *name, *ca, *identities, *scope, *path;
  int port, poll_ms;
  long total, concurrency;
} options = {.mode = "bare", .address = "127.0.0.1", .scope = "", .path = "/", .port = 443, .poll_ms = 20, .total = 1, .concurrency = 1};

static struct identity *identities;
static long identity_count;
static SSL_CTX *context;
static atomic_long next_connection, done, failed, polls;
static double *latencies; /* seconds, one per connection */
static pthread_mutex_t reason_lock = PTHREAD_MUTEX_INITIALIZER;
static char first_reason[REASON_BYTES];

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what, const char *which) {
  fprintf(stderr, "load-client: %s%s%s\n", what, which ? ": " : "", which ? which : "");
  ERR_print_errors_fp(stderr);
  exit(2);
}

/* ---- identities ---- */

/* Decodes base64 (with padding, without line breaks) in place; answers with the number of bytes. */
static long decode(char *text) {
  size_t length = strlen(text);
  long padding = length > 1 ? (text[length - 1] == '=') + (text[length - 2] == '=') : 0;
  int bytes = EVP_DecodeBlock((unsigned char *)text, (unsigned char *)text, (int)length);
  return bytes < 0 ? -1 : bytes - padding;
}

static void read_certificates(struct identity *one, char *list) {
  one->chain = sk_X509_new_null();
  for (char *text; (text = strsep(&list, ","));) {
    const unsigned char *at = (unsigned char *)text;
    X509 *certificate = d2i_X509(NULL, &at, decode(text));
    if (!certificate) die("bad certificate of", one->registration_id);
    if (one->certificate) sk_X509_push(one->chain, certificate);
    else one->certificate = certificate;
  }
}

static void read_key(struct identity *one, char *text) {
  const unsigned char *at = (unsigned char *)text;
  one->key = d2i_AutoPrivateKey(NULL, &at, decode(text));
  if (!one->key) die("bad key of", one->registration_id);
}

static void read_identities(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) die("cannot open the identities", path);
  char *line = NULL;
  size_t size = 0;
  long room = 0;
  while (getline(&line, &size, file) > 0) {
    line[strcspn(line, "\n")] = 0;
    if (!*line) continue;
    if (identity_count == room) {
      room = room ? room * 2 : 256;
      identities = realloc(identities, (size_t)room * sizeof *identities);
      if (!identities) die("out of memory", NULL);
    }
    struct identity *one = &identities[identity_count++];
    memset(one, 0, sizeof *one);
    char *rest = line, *id = strsep(&rest, "\t"), *kind = strsep(&rest, "\t"), *first = strsep(&rest, "\t");
    one->registration_id = strdup(id);
    if (kind && !strcmp(kind, "sas") && first) {
      one->authorization = strdup(first);
    } else if (kind && !strcmp(kind, "x509") && first && rest) {
      read_certificates(one, first);
      read_key(one, rest);
    } else if (!kind || strcmp(kind, "none")) {
      die("a line of the identities is none of x509, sas, none", id);
    }
  }
  free(line);
  fclose(file);
  if (!identity_count) die("no identities in", path);
}

/* ---- one connection ---- */

struct connection {
  int socket;
  SSL *ssl;
  const struct identity *identity;
  char reason[REASON_BYTES];
  int status;
  char *body; /* inside response */
  char response[RESPONSE_BYTES + 1];
};

static int give_up(struct connection *c, const char *why) {
  if (!*c->reason) {
    unsigned long code = ERR_peek_last_error();
    const char *detail = code ? ERR_reason_error_string(code) : errno ? strerror(errno) : "";
    snprintf(c->reason, sizeof c->reason, "%s %s", why, detail ? detail : "");
  }
  ERR_clear_error();
  return 0;
}

static int open_tls(struct connection *c) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
  if (inet_pton(AF_INET, options.address, &to.sin_addr) != 1) return give_up(c, "bad address");
  c->socket = socket(AF_INET, SOCK_STREAM, 0);
  struct timeval limit = {.tv_sec = IO_TIMEOUT_S};
  int yes = 1;
  setsockopt(c->socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(c->socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connect(c->socket, (struct sockaddr *)&to, sizeof to)) return give_up(c, "connect");
  c->ssl = SSL_new(context);
  const struct identity *who = c->identity;
  if (who->certificate && SSL_use_cert_and_key(c->ssl, who->certificate, who->key, who->chain, 1) != 1)
    return give_up(c, "client certificate");
  struct in_addr parsed;
  if (inet_pton(AF_INET, options.name, &parsed) == 1) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->ssl), options.name);
  } else {
    SSL_set1_host(c->ssl, options.name);
    SSL_set_tlsext_host_name(c->ssl, options.name);
  }
  SSL_set_fd(c->ssl, c->socket);
  errno = 0;
  if (SSL_connect(c->ssl) != 1) {
    long verdict = SSL_get_verify_result(c->ssl);
    return give_up(c, verdict == X509_V_OK ? "handshake" : X509_verify_cert_error_string(verdict));
  }
  return 1;
}

static void close_tls(struct connection *c) {
  if (c->ssl) {
    SSL_shutdown(c->ssl); /* close_notify; the answer is not waited for */
    SSL_free(c->ssl);
  }
  if (c->socket > 0) close(c->socket);
}

/* Reads one response with a Content-Length into c->status and c->body. */
static int read_response(struct connection *c) {
  size_t have = 0, need = 0;
  c->status = 0;
  for (;;) {
    if (have == RESPONSE_BYTES) return give_up(c, "response too large");
    int got = SSL_read(c->ssl, c->response + have, (int)(RESPONSE_BYTES - have));
    if (got <= 0) return give_up(c, "connection ended before the response");
    have += (size_t)got;
    c->response[have] = 0;
    if (!need) {
      char *end = strstr(c->response, "\r\n\r\n");
      if (!end) continue;
      char *length = strcasestr(c->response, "\r\ncontent-length:");
      if (!length || length > end) return give_up(c, "response without Content-Length");
      c->body = end + 4;
      need = (size_t)(c->body - c->response) + strtoul(length + 17, NULL, 10);
      if (sscanf(c->response, "HTTP/1.1 %d", &c->status) != 1) return give_up(c, "not an HTTP response");
    }
    if (have >= need) return 1;
  }
}

static int exchange(struct connection *c, const char *method, const char *path, const char *body, int last) {
  char request[REQUEST_BYTES];
  const struct identity *who = c->identity;
  int length = snprintf(request, sizeof request,
                        "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\nContent-Type: application/json; charset=utf-8\r\n"
                        "%s%s%sContent-Length: %zu\r\nConnection: %s\r\n\r\n%s",
                        method, path, options.name, who->authorization ? "Authorization: " : "",
                        who->authorization ? who->authorization : "", who->authorization ? "\r\n" : "", strlen(body),
                        last ? "close" : "keep-alive", body);
  if (length >= (int)sizeof request) return give_up(c, "request too large");
  errno = 0;
  if (SSL_write(c->ssl, request, length) != length) return give_up(c, "write");
  return read_response(c);
}

static int refused(struct connection *c, const char *what) {
  snprintf(c->reason, sizeof c->reason, "%s: %d %.150s", what, c->status, c->body ? c->body : "");
  return 0;
}

static int bare(struct connection *c) {
  if (!exchange(c, "GET", options.path, "", 1)) return 0;
  return c->status == 200 || refused(c, "GET");
}

static int member(const char *json, const char *name, char *out, size_t size) {
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\":\"", name);
  const char *at = strstr(json, quoted);
  if (!at) return 0;
  at += strlen(quoted);
  size_t length = strcspn(at, "\"");
  if (length >= size) return 0;
  memcpy(out, at, length);
  out[length] = 0;
  return 1;
}

static int enroll(struct connection *c) {
  char path[1024], body[256], operation[256], status[32];
  const char *id = c->identity->registration_id;
  snprintf(path, sizeof path, "/%s/registrations/%s/register?api-version=2021-06-01", options.scope, id);
  snprintf(body, sizeof body, "{\"registrationId\":\"%s\"}", id);
  if (!exchange(c, "PUT", path, body, 0)) return 0;
  if ((c->status != 202 && c->status != 200) || !member(c->body, "operationId", operation, sizeof operation))
    return refused(c, "register");
  snprintf(path, sizeof path, "/%s/registrations/%s/operations/%s?api-version=2021-06-01", options.scope, id, operation);
  struct timespec pause = {.tv_sec = options.poll_ms / 1000, .tv_nsec = options.poll_ms % 1000 * 1000000L};
  for (double deadline = now_s() + REGISTER_TIMEOUT_S; now_s() < deadline;) {
    nanosleep(&pause, NULL);
    if (!exchange(c, "GET", path, "", 0)) return 0;
    atomic_fetch_add(&polls, 1);
    if ((c->status != 202 && c->status != 200) || !member(c->body, "status", status, sizeof status))
      return refused(c, "operation");
    if (!strcmp(status, "assigned")) return 1;
    if (strcmp(status, "assigning")) return refused(c, "operation");
  }
  return refused(c, "still not assigned");
}

static void *work(void *unused) {
  (void)unused;
  struct connection *c = malloc(sizeof *c);
  if (!c) die("out of memory", NULL);
  for (long number; (number = atomic_fetch_add(&next_connection, 1)) < options.total;) {
    memset(c, 0, offsetof(struct connection, response));
    c->identity = &identities[number % identity_count];
    double from = now_s();
    int ok = open_tls(c) && (strcmp(options.mode, "bare") ? enroll(c) : bare(c));
    close_tls(c);
    latencies[number] = now_s() - from;
    atomic_fetch_add(ok ? &done : &failed, 1);
    if (!ok) {
      pthread_mutex_lock(&reason_lock);
      if (!*first_reason) snprintf(first_reason, sizeof first_reason, "%s: %.200s", c->identity->registration_id, c->reason);
      pthread_mutex_unlock(&reason_lock);
    }
  }
  free(c);
  return NULL;
}

/* ---- the whole ---- */

static void read_options(int count, char **words) {
  for (int at = 1; at < count; at += 2) {
    const char *name = words[at], *value = at + 1 < count ? words[at + 1] : NULL;
    if (!value) die("a value is missing for", name);
    if (!strcmp(name, "--mode")) options.mode = value;
    else if (!strcmp(name, "--address")) options.address = value;
    else if (!strcmp(name, "--port")) options.port = atoi(value);
    else if (!strcmp(name, "--name")) options.name = value;
    else if (!strcmp(name, "--ca")) options.ca = value;
    else if (!strcmp(name, "--identities")) options.identities = value;
    else if (!strcmp(name, "--total")) options.total = atol(value);
    else if (!strcmp(name, "--concurrency")) options.concurrency = atol(value);
    else if (!strcmp(name, "--scope")) options.scope = value;
    else if (!strcmp(name, "--path")) options.path = value;
    else if (!strcmp(name, "--poll-ms")) options.poll_ms = atoi(value);
    else die("unknown option", name);
  }
  if (!options.name) options.name = options.address;
  if (!options.ca || !options.identities) die("--ca and --identities are needed", NULL);
  if (strcmp(options.mode, "bare") && strcmp(options.mode, "register")) die("--mode is bare or register, not", options.mode);
  if (options.total < 1 || options.concurrency < 1) die("--total and --concurrency are at least 1", NULL);
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print_text(const char *text) {
  putchar('"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') putchar('\\');
    if ((unsigned char)*text >= ' ') putchar(*text);
  }
  putchar('"');
}

int main(int count, char **words) {
  read_options(count, words);
  signal(SIGPIPE, SIG_IGN);
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  if (SSL_CTX_load_verify_locations(context, options.ca, NULL) != 1) die("cannot read the CA", options.ca);
  read_identities(options.identities);
  latencies = calloc((size_t)options.total, sizeof *latencies);
  pthread_t *threads = calloc((size_t)options.concurrency, sizeof *threads);
  if (!latencies || !threads) die("out of memory", NULL);
  double from = now_s();
  for (long i = 0; i < options.concurrency; i++)
    if (pthread_create(&threads[i], NULL, work, NULL)) die("cannot start a thread", NULL);
  for (long i = 0; i < options.concurrency; i++) pthread_join(threads[i], NULL);
  double seconds = now_s() - from;
  qsort(latencies, (size_t)options.total, sizeof *latencies, ascending);
  printf("{\"done\":%ld,\"failed\":%ld,\"seconds\":%.4f,\"polls\":%ld,\"p50ms\":%.2f,\"p99ms\":%.2f,\"firstFailure\":",
         atomic_load(&done), atomic_load(&failed), seconds, atomic_load(&polls), latencies[options.total / 2] * 1e3,
         latencies[options.total * 99 / 100] * 1e3);
  if (*first_reason) print_text(first_reason);
  else printf("null");
  printf("}\n");
  return atomic_load(&failed) ? 1 : 0;
}
