/*
 * A fleet that comes back: N registered devices, each with a real client's timing and an application around it that
 * starts the client again when that gave up. A device fails for good when it was started `--tries` times in vain.
 *
 * cc -O2 -o storm-devices storm-devices.c -lssl -lcrypto -lm
 * storm-devices --address 127.0.0.1 --https-port P --mqtts-port P --name HOST --ca FILE --scope 0ne…
 *               --issuer FILE --issuer-key FILE --group-key BASE64
 *               --prefix TEXT --first N --count N [--at-once N] [--within-ms N] [--sources N] [--calm-poll-ms N] [--tries N]
 *
 * Devices make their own keys: every second one has a certificate of the issuer (P-256), the others a key derived from
 * the group's. --at-once 0: all within --within-ms. --sources 0: all from the address that the kernel chooses, as behind a
 * NAT; else spread over so many addresses 127.1.x.y. Prints one JSON object.
 */
#include "storm-tls.h"
#include "storm-keys.h"
#include <signal.h>

#define MESSAGE_BYTES 8192
#define RETRY_AFTER_MOST 300
#define POLLS_EACH 20 /* on an average */

/*
 * How long the clients wait and what they do about 429 (dps.md 1.10, 2.5; Node and Python read in their sources). None
 * of them repeats anything when a connection fails: that is left to the application.
 */
static const struct client {
  const char *name;
  int mqtt;
  double connect_s, request_s;
  int fresh;             /* a connection for every request */
  double first_poll_s;   /* before the first poll whatever retry-after says; 0: as it says */
  double poll_s;         /* between polls, whatever retry-after says; 0: as it says */
  double throttled_s;    /* after 429, whatever retry-after says; 0: as it says */
} clients[] = {
    {"node-https", 0, 30, 30, 0, 0, 0, 0},
    {"node-mqtt", 1, 60, 30, 0, 0, 0, 0},
    {"c-https", 0, 60, 60, 0, 0, 0, 0},
    {"python-mqtt", 1, 60, 30, 0, 2, 0, 0},
    {"identityd", 0, 30, 30, 1, 5, 5, 60},
};
#define CLIENTS (sizeof clients / sizeof *clients)

static struct {
  const char *address, *name, *ca, *scope, *issuer, *issuer_key, *group_key, *prefix;
  long https_port, mqtts_port, first, count, at_once, within_ms, sources, calm_poll_ms, tries;
} options = {.address = "127.0.0.1", .scope = "", .prefix = "storm", .count = 1, .tries = 8};

struct device {
  struct task task; /* first: a task is its device */
  struct line line;
  long number;
  const struct client *client;
  char id[64], operation[160];
  X509 *certificate;
  EVP_PKEY *key;
  int status, retry_after, polled;
  char body[2048];
  unsigned char in[MESSAGE_BYTES];
  int have;
};

static struct {
  long done, failed, registers, polls, timed_polls, throttled_registers, throttled_polls, connections;
  long restarts[8], retry_after[RETRY_AFTER_MOST + 1], by_client[CLIENTS];
  double *latencies, *poll_latencies; /* seconds: of a device from its first try, of a poll on an open connection */
  char reason[512];
} seen;
enum { NO_CONNECTION, CONNECTION_CLOSED, HANDSHAKE_LATE, LOST_LATER, ANSWER_LATE, REFUSED_BY_SERVICE };
static const char *restart_names[] = {"refused", "closedAtOnce", "connectTimeout", "lost", "answerTimeout", "refusedByService"};

static double chance(void) {
  unsigned bits;
  RAND_bytes((unsigned char *)&bits, sizeof bits);
  return bits / 4294967296.0;
}

/* ---- connections ---- */

static int connect_device(struct device *d, double deadline) {
  struct sockaddr_in to = {.sin_family = AF_INET};
  to.sin_port = htons((uint16_t)(d->client->mqtt ? options.mqtts_port : options.https_port));
  inet_pton(AF_INET, options.address, &to.sin_addr);
  struct in_addr from = {0};
  long source = options.sources ? d->number % options.sources : 0;
  if (options.sources) from.s_addr = htonl((127u << 24) | (1u << 16) | (uint32_t)((source / 250) << 8) | (uint32_t)(source % 250 + 1));
  d->have = 0;
  seen.connections++;
  return open_tls(&d->line, from, to, options.name, d->certificate, d->key, issuers, deadline);
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

/* The next bytes of the connection behind those that are there; 0 when it ended, is late, or says too much. */
static int more(struct device *d, double deadline) {
  if (d->have == MESSAGE_BYTES - 1) return over(&d->line, LOST);
  int got = receive(&d->line, d->in + d->have, MESSAGE_BYTES - 1 - d->have, deadline);
  d->have += got;
  d->in[d->have] = 0;
  return got;
}

static void keep_body(struct device *d, const unsigned char *from, long length) {
  if (length > (long)sizeof d->body - 1) length = sizeof d->body - 1;
  memcpy(d->body, from, (size_t)length);
  d->body[length] = 0;
}

/* ---- HTTPS ---- */

static int https_answer(struct device *d, double deadline) {
  char *text = (char *)d->in, *end;
  d->have = 0;
  do {
    if (!more(d, deadline)) return 0;
  } while (!(end = strstr(text, "\r\n\r\n")));
  char *length = strcasestr(text, "\r\ncontent-length:"), *wait = strcasestr(text, "\r\nretry-after:");
  if (!length || sscanf(text, "HTTP/1.1 %d", &d->status) != 1) return over(&d->line, LOST);
  d->retry_after = wait && wait < end ? atoi(wait + 14) : -1;
  long bytes = strtol(length + 17, NULL, 10), head = end + 4 - text;
  while (d->have < head + bytes)
    if (!more(d, deadline)) return 0;
  keep_body(d, d->in + head, bytes);
  return 1;
}

static int https_request(struct device *d, const char *method, const char *path, const char *body) {
  char text[2048], token[600] = "";
  double deadline = now_s() + d->client->request_s;
  if (d->line.ssl && (d->client->fresh || is_closed(&d->line))) close_tls(&d->line);
  if (!d->line.ssl && !connect_device(d, deadline)) return 0;
  if (!d->certificate) make_token(options.scope, d->id, token, sizeof token);
  int length = snprintf(text, sizeof text,
                        "%s /%s/registrations/%s/%s?api-version=2021-06-01 HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                        "%s%s%sContent-Length: %zu\r\n\r\n%s",
                        method, options.scope, d->id, path, options.name, *token ? "Authorization: " : "", token,
                        *token ? "\r\n" : "", strlen(body), body);
  return send_all(&d->line, text, length, deadline) && https_answer(d, deadline);
}

/* ---- MQTT ---- */

static unsigned char *put_text(unsigned char *at, const char *text) {
  size_t length = strlen(text);
  *at++ = (unsigned char)(length >> 8);
  *at++ = (unsigned char)length;
  memcpy(at, text, length);
  return at + length;
}

static int send_packet(struct device *d, int type, const unsigned char *body, long length, double deadline) {
  unsigned char packet[2048], *at = packet;
  *at++ = (unsigned char)type;
  long rest = length;
  do {
    *at++ = (unsigned char)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
  } while (rest >>= 7);
  memcpy(at, body, (size_t)length);
  return send_all(&d->line, packet, (int)(at - packet + length), deadline);
}

/* Waits for a packet of this type; its body is moved to the front of d->in. Answers with its length, -1: none came. */
static long receive_packet(struct device *d, int type, double deadline) {
  for (;;) {
    long length = 0, head = 1;
    int shift = 0, whole = 0;
    while (head < d->have && !whole) {
      length |= (long)(d->in[head] & 0x7f) << shift;
      shift += 7;
      whole = !(d->in[head++] & 0x80);
    }
    if (!whole || d->have < head + length) {
      if (!more(d, deadline)) return -1;
      continue;
    }
    int found = d->in[0] >> 4;
    unsigned char body[MESSAGE_BYTES];
    memcpy(body, d->in + head, (size_t)length);
    d->have -= (int)(head + length);
    memmove(d->in, d->in + head + length, (size_t)d->have);
    if (found != type) continue;
    keep_body(d, body, length);
    return length;
  }
}

static int mqtt_open(struct device *d) {
  unsigned char packet[1500], *at = packet;
  char user[300], token[600] = "";
  double deadline = now_s() + d->client->connect_s;
  if (!connect_device(d, deadline)) return 0;
  if (!d->certificate) make_token(options.scope, d->id, token, sizeof token);
  snprintf(user, sizeof user, "%s/registrations/%s/api-version=2019-03-31&ClientVersion=storm", options.scope, d->id);
  at = put_text(at, "MQTT");
  *at++ = 4;
  *at++ = *token ? 0xc2 : 0x82;
  *at++ = 0;
  *at++ = 180;
  at = put_text(at, d->id);
  at = put_text(at, user);
  if (*token) at = put_text(at, token);
  if (!send_packet(d, 0x10, packet, at - packet, deadline)) return 0;
  if (receive_packet(d, 2, deadline) < 2) return 0;
  if (d->body[1]) return over(&d->line, LOST);
  at = packet;
  *at++ = 0, *at++ = 1;
  at = put_text(at, "$dps/registrations/res/#");
  *at++ = 1;
  return send_packet(d, 0x82, packet, at - packet, deadline) && receive_packet(d, 9, deadline) >= 3;
}

static int mqtt_request(struct device *d, const char *topic, const char *body) {
  unsigned char packet[1024], *at = packet;
  if (!d->line.ssl && !mqtt_open(d)) return 0;
  double deadline = now_s() + d->client->request_s;
  at = put_text(at, topic);
  *at++ = 0, *at++ = 2;
  memcpy(at, body, strlen(body));
  if (!send_packet(d, 0x32, packet, at + strlen(body) - packet, deadline)) return 0;
  long length = receive_packet(d, 3, deadline);
  if (length < 0) return 0;
  char answer[256] = "";
  unsigned char *bytes = (unsigned char *)d->body;
  size_t topic_bytes = (size_t)(bytes[0] << 8 | bytes[1]);
  if (topic_bytes >= sizeof answer) return over(&d->line, LOST);
  memcpy(answer, bytes + 2, topic_bytes);
  char *wait = strstr(answer, "retry-after=");
  if (sscanf(answer, "$dps/registrations/res/%d/", &d->status) != 1) return over(&d->line, LOST);
  d->retry_after = wait ? atoi(wait + 12) : -1;
  unsigned char id[2] = {bytes[2 + topic_bytes], bytes[3 + topic_bytes]};
  memmove(d->body, d->body + 4 + topic_bytes, strlen(d->body + 4 + topic_bytes) + 1);
  return send_packet(d, 0x40, id, 2, deadline);
}

/* ---- one run of a client ---- */

static int request_register(struct device *d) {
  char body[128];
  snprintf(body, sizeof body, "{\"registrationId\":\"%s\"}", d->id);
  seen.registers++;
  return d->client->mqtt ? mqtt_request(d, "$dps/registrations/PUT/iotdps-register/?$rid=1", body)
                         : https_request(d, "PUT", "register", body);
}

static int request_status(struct device *d) {
  char where[256];
  snprintf(where, sizeof where,
           d->client->mqtt ? "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=%s" : "operations/%s",
           d->operation);
  double from = now_s();
  int is_open = d->line.ssl && !d->client->fresh;
  int answered = d->client->mqtt ? mqtt_request(d, where, " ") : https_request(d, "GET", where, "");
  seen.polls++;
  if (answered && is_open && seen.timed_polls < POLLS_EACH * options.count) seen.poll_latencies[seen.timed_polls++] = now_s() - from;
  return answered;
}

static double told(const struct device *d) { return d->retry_after >= 1 && d->retry_after <= RETRY_AFTER_MOST ? d->retry_after : 2; }

static double poll_pause(struct device *d) {
  if (options.calm_poll_ms) return (double)options.calm_poll_ms / 1e3;
  int first = !d->polled++;
  if (first && d->client->first_poll_s > 0) return d->client->first_poll_s;
  return d->client->poll_s > 0 ? d->client->poll_s : told(d);
}

static void throttled(struct device *d, long *count) {
  ++*count;
  if (d->retry_after >= 0) seen.retry_after[d->retry_after > RETRY_AFTER_MOST ? RETRY_AFTER_MOST : d->retry_after]++;
  else snprintf(seen.reason, sizeof seen.reason, "%s: 429 without Retry-After", d->id);
  pause_s(d->client->throttled_s > 0 ? d->client->throttled_s : told(d));
}

static int not_expected(struct device *d, const char *what) {
  snprintf(seen.reason, sizeof seen.reason, "%s, %s: %s was answered with %d %.200s", d->id, d->client->name, what, d->status, d->body);
  d->line.end = OPEN;
  return 0;
}

/* 1: the client's register() resolved. */
static int run_client(struct device *d) {
  char status[32];
  d->polled = 0;
  for (;;) {
    if (!request_register(d)) return 0;
    if (d->status < 429) break;
    throttled(d, &seen.throttled_registers);
  }
  if (d->status != 202 || !member(d->body, "operationId", d->operation, sizeof d->operation)) return not_expected(d, "register");
  for (;;) {
    pause_s(poll_pause(d));
    if (!request_status(d)) return 0;
    if (d->status >= 429) {
      throttled(d, &seen.throttled_polls);
      continue;
    }
    if ((d->status != 200 && d->status != 202) || !member(d->body, "status", status, sizeof status)) return not_expected(d, "a poll");
    if (!strcmp(status, "assigned")) return 1;
    if (strcmp(status, "assigning")) return not_expected(d, "a poll");
  }
}

static int why_rejected(const struct device *d) {
  int secured = d->line.ssl && SSL_is_init_finished(d->line.ssl);
  switch (d->line.end) {
    case REFUSED: return NO_CONNECTION;
    case LOST: return secured ? LOST_LATER : CONNECTION_CLOSED;
    case TIMED_OUT: return secured ? ANSWER_LATE : HANDSHAKE_LATE;
    default: return REFUSED_BY_SERVICE;
  }
}

/* ---- the fleet ---- */

static struct device *devices;
static long next_device;

/* The client, and the application that starts it again: after 2, 4, 8 … seconds, 60 at most, half of it by chance. */
static void live(void) {
  struct device *d = (struct device *)current;
  if (!options.at_once) pause_s(chance() * (double)options.within_ms / 1e3);
  double from = now_s();
  int run = 0, ok = 0;
  for (; run < options.tries && !(ok = run_client(d)); run++) {
    seen.restarts[why_rejected(d)]++;
    close_tls(&d->line);
    pause_s(fmin(60, exp2(run + 1)) * (1 + chance()) / 2);
  }
  if (ok && d->client->mqtt) send_packet(d, 0xe0, (unsigned char *)"", 0, now_s() + 1);
  close_tls(&d->line);
  if (ok) seen.done++, seen.by_client[d->client - clients]++;
  else seen.failed++;
  seen.latencies[d->number - options.first] = now_s() - from;
  d->task.ended = 1;
  if (next_device < options.count) start_task(&devices[next_device++].task, live);
}

static void prepare(struct device *d, long number) {
  d->number = number;
  d->client = &clients[number / 2 % (long)CLIENTS];
  int certified = number % 2;
  snprintf(d->id, sizeof d->id, "%s-%c%ld", options.prefix, certified ? 'x' : 'k', number);
  if (certified) d->certificate = make_certificate(d->id, &d->key);
}

/* ---- the whole ---- */

static void read_options(int count, char **words) {
  const struct { const char *name; const char **text; long *number; } known[] = {
      {"--address", &options.address, NULL}, {"--name", &options.name, NULL}, {"--ca", &options.ca, NULL},
      {"--scope", &options.scope, NULL}, {"--issuer", &options.issuer, NULL}, {"--issuer-key", &options.issuer_key, NULL},
      {"--group-key", &options.group_key, NULL}, {"--prefix", &options.prefix, NULL},
      {"--https-port", NULL, &options.https_port}, {"--mqtts-port", NULL, &options.mqtts_port},
      {"--first", NULL, &options.first}, {"--count", NULL, &options.count}, {"--at-once", NULL, &options.at_once},
      {"--within-ms", NULL, &options.within_ms}, {"--sources", NULL, &options.sources},
      {"--calm-poll-ms", NULL, &options.calm_poll_ms}, {"--tries", NULL, &options.tries},
  };
  for (int at = 1; at < count; at += 2) {
    size_t which = 0;
    while (which < sizeof known / sizeof *known && strcmp(known[which].name, words[at])) which++;
    if (which == sizeof known / sizeof *known) die("unknown option", words[at]);
    if (at + 1 == count) die("a value is missing for", words[at]);
    if (known[which].text) *known[which].text = words[at + 1];
    else *known[which].number = atol(words[at + 1]);
  }
  if (!options.ca || !options.name || !options.issuer || !options.issuer_key || !options.group_key)
    die("--ca, --name, --issuer, --issuer-key and --group-key are needed", NULL);
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print_seen(double seconds) {
  qsort(seen.latencies, (size_t)options.count, sizeof *seen.latencies, ascending);
  qsort(seen.poll_latencies, (size_t)seen.timed_polls, sizeof *seen.poll_latencies, ascending);
  printf("{\"done\":%ld,\"failedForGood\":%ld,\"seconds\":%.3f,\"p50s\":%.3f,\"p99s\":%.3f,\"mosts\":%.3f,\"pollP99s\":%.3f,"
         "\"registers\":%ld,\"polls\":%ld,\"connections\":%ld,\"throttledRegisters\":%ld,\"throttledPolls\":%ld,\"retryAfter\":{",
         seen.done, seen.failed, seconds, seen.latencies[options.count / 2], seen.latencies[options.count * 99 / 100],
         seen.latencies[options.count - 1], seen.timed_polls ? seen.poll_latencies[seen.timed_polls * 99 / 100] : 0,
         seen.registers, seen.polls, seen.connections, seen.throttled_registers, seen.throttled_polls);
  const char *comma = "";
  for (int at = 0; at <= RETRY_AFTER_MOST; at++)
    if (seen.retry_after[at]) printf("%s\"%d\":%ld", comma, at, seen.retry_after[at]), comma = ",";
  printf("},\"restarts\":{");
  for (int at = 0; at <= REFUSED_BY_SERVICE; at++) printf("%s\"%s\":%ld", at ? "," : "", restart_names[at], seen.restarts[at]);
  printf("},\"byClient\":{");
  for (size_t at = 0; at < CLIENTS; at++) printf("%s\"%s\":%ld", at ? "," : "", clients[at].name, seen.by_client[at]);
  for (char *at = seen.reason; *at; at++) if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ') *at = '\'';
  printf("},\"lastReason\":\"%s\"}\n", seen.reason);
}

int main(int count, char **words) {
  read_options(count, words);
  signal(SIGPIPE, SIG_IGN);
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  if (SSL_CTX_load_verify_locations(context, options.ca, NULL) != 1) die("cannot read the CA", options.ca);
  read_keys(options.issuer, options.issuer_key, options.group_key);
  devices = calloc((size_t)options.count, sizeof *devices);
  heap = calloc((size_t)options.count + 1, sizeof *heap);
  seen.latencies = calloc((size_t)options.count, sizeof *seen.latencies);
  seen.poll_latencies = calloc((size_t)(options.count * POLLS_EACH), sizeof *seen.poll_latencies);
  poll_fd = epoll_create1(0);
  if (!devices || !heap || !seen.latencies || !seen.poll_latencies || poll_fd < 0) die("out of memory", NULL);
  for (long at = 0; at < options.count; at++) prepare(&devices[at], options.first + at);
  long together = options.at_once && options.at_once < options.count ? options.at_once : options.count;
  /* Whoever starts several of these lets them go together. */
  printf("ready\n");
  fflush(stdout);
  if (getchar() == EOF) return 2;
  double began = now_s();
  for (; next_device < together; next_device++) start_task(&devices[next_device].task, live);
  run_tasks();
  print_seen(now_s() - began);
  return seen.failed ? 1 : 0;
}
