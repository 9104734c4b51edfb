// A strategy that takes more than it may, or keeps the program waiting: what `mode` says, where `at` says.
#define _GNU_SOURCE
#include "coldstart_plugin.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

COLDSTART_MANIFEST("{\"format\":1,\"name\":\"greedy\",\"publisher\":\"\",\"version\":\"0.1.0\","
                   "\"api\":\"" COLDSTART_API_VERSION "\",\"panic\":\"none\",\"summary\":\"takes more than it may\","
                   "\"license\":\"MIT\",\"authors\":\"x\",\"cite\":\"x\",\"roles\":[\"initial\",\"query\"],\"needs\":[],"
                   "\"params\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
                   "\"mode\":{\"type\":\"string\",\"default\":\"\"},\"at\":{\"type\":\"string\",\"default\":\"select\"},"
                   "\"n\":{\"type\":\"integer\",\"default\":0}}}}");

typedef struct {
  coldstart_selector_v1 table;
  char mode[64], at[16];
  long n;
} greedy;

enum { MIB = 1 << 20 };
static const coldstart_bytes_v1 NOTHING = {0, 0};
static char junk[MIB];

static int is(const greedy *me, const char *mode) { return !strcmp(me->mode, mode); }

static void forever(void) {
  for (;;) sleep(1000);
}

// The line to the program.
static int line(void) {
  for (int fd = 3; fd < 256; fd++) {
    struct stat what;
    if (!fstat(fd, &what) && S_ISSOCK(what.st_mode)) return fd;
  }
  return -1;
}

static void put(const void *bytes, size_t n) {
  const char *next = bytes;
  while (n) {
    ssize_t sent = send(line(), next, n, MSG_NOSIGNAL);
    if (sent <= 0) continue;
    next += sent, n -= sent;
  }
}

// A frame that announces so many bytes and begins so; as many follow as are taken.
static void frame(const char *beginning, size_t n_beginning, size_t announced, size_t following) {
  uint8_t head[4] = {announced, announced >> 8, announced >> 16, announced >> 24};
  put(head, 4);
  put(beginning, n_beginning);
  for (; following; following -= following < MIB ? following : MIB) put(junk, following < MIB ? following : MIB);
}
#define FRAME(beginning, announced, following) frame(beginning, sizeof beginning - 1, announced, following)

static int32_t fail(coldstart_fault_v1 *fault, const char *message, size_t n) {
  fault->message.ptr = message, fault->message.len = n;
  return COLDSTART_PLUGIN_FAILED;
}

static int32_t put_artifact(const coldstart_host_v1 *host, long number, size_t n, coldstart_fault_v1 *fault) {
  uint8_t *message = malloc(n + 64), *next = message;
  memcpy(next, "\x82\xa4name\xa9", 7), next += 7;
  for (int digit = 8; digit >= 0; digit--, number /= 10) next[digit] = '0' + number % 10;
  next += 9;
  memcpy(next, "\xa5" "bytes\xc6", 7), next += 7;
  for (int shift = 24; shift >= 0; shift -= 8) *next++ = n >> shift;
  memcpy(next, junk, n < sizeof junk ? n : sizeof junk), next += n;
  coldstart_answer_v1 answer = {.head = COLDSTART_HEAD_V1(coldstart_answer_v1)};
  coldstart_text_v1 op = COLDSTART_TEXT_V1("artifact.put/1");
  coldstart_bytes_v1 args = {message, next - message};
  int32_t code = host->invoke(host->head.object, op, args, NULL, 0, &answer, fault);
  free(message);
  return code;
}

static void *idle(void *nothing) {
  forever();
  return nothing;
}

static void start_threads(long n) {
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 1 << 17);
  for (long i = 0; i < n; i++) {
    pthread_t thread;
    if (pthread_create(&thread, &small, idle, NULL)) return;
  }
}

enum { MOST_KEPT = 1024 };
static ino_t kept[MOST_KEPT];
static size_t n_kept;

static int is_kept(ino_t inode) {
  for (size_t i = 0; i < n_kept && i < MOST_KEPT; i++)
    if (kept[i] == inode) return 1;
  return 0;
}

// Put a tensor of 16 MiB, get it back as a memory file, keep that, release the tensor.
static int32_t keep_tensors(const greedy *me, const coldstart_host_v1 *host, coldstart_fault_v1 *fault) {
  size_t n = 16 * MIB;
  uint8_t *bytes = calloc(1, n), one[8];
  for (long i = 0; i < me->n; i++) {
    uint64_t tensor = 0, got = 0, shape[1] = {n};
    coldstart_bytes_v1 content = {bytes, n};
    int32_t code = host->tensor_put(host->head.object, COLDSTART_U8, shape, 1, content, &tensor, fault);
    if (!code) code = host->tensor_read(host->head.object, tensor, 0, one, 8, &got, fault);
    if (code) return code;
    for (int fd = 3; fd < 256; fd++) {
      struct stat what;
      if (fstat(fd, &what) || !S_ISREG(what.st_mode) || (size_t)what.st_size != n || is_kept(what.st_ino)) continue;
      kept[n_kept++ % MOST_KEPT] = what.st_ino;
      if (is(me, "maps-tensors")) mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
      else dup(fd);
      break;
    }
    host->tensor_release(host->head.object, tensor);
  }
  free(bytes);
  sleep(2);
  return 0;
}

static int32_t act(const greedy *me, const coldstart_host_v1 *host, coldstart_fault_v1 *fault) {
  void *to = host ? host->head.object : NULL;
  size_t n = (size_t)me->n * MIB;
  memset(junk, 'a', sizeof junk);
  // What keeps the program waiting.
  if (is(me, "stops")) kill(getpid(), SIGSTOP);
  if (is(me, "sleeps")) forever();
  if (is(me, "half-a-header")) put("\x10\x00", 2), forever();
  if (is(me, "half-a-body")) FRAME("\x81\xa3log\x84", 1000, 10), forever();
  if (is(me, "trickles"))
    for (FRAME("\x81\xa3log\x84", 60000, 0);; usleep(100000)) put(junk, 1);
  if (is(me, "never-reads") || is(me, "reads-slowly"))
    for (FRAME("\x81\xa4" "call\x82\xa2id\x01\xa3" "ask\x81\xa6random\x82\xa6stream\xa1x\xa5" "count\xce\x01\x00\x00\x00", 49, 0);; usleep(100000)) {
      char byte;
      if (is(me, "reads-slowly")) recv(line(), &byte, 1, 0);
    }
  if (is(me, "closes"))
    for (int fd = 3; fd < 256; fd++) close(fd);
  if (is(me, "closes")) forever();
  for (coldstart_text_v1 text = {junk, 10}; is(me, "endless-progress");) host->progress(to, text, 1, 2);
  for (coldstart_text_v1 text = {junk, 10}; is(me, "endless-log");) host->log(to, 5, text, text, NOTHING);
  // What takes more than it may.
  if (is(me, "threads")) start_threads(me->n);
  if (is(me, "threads")) sleep(2);
  if (is(me, "threads-and-answers")) start_threads(me->n);
  if (is(me, "descriptors"))
    for (long i = 0; i < me->n; i++) dup(0);
  if (is(me, "descriptors")) sleep(2);
  if (is(me, "keeps-tensors") || is(me, "maps-tensors")) return keep_tensors(me, host, fault);
  if (is(me, "sends-a-descriptor")) {
    char space[CMSG_SPACE(sizeof(int))] = {0}, bytes[] = "\x08\x00\x00\x00";
    struct iovec part = {bytes, 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof(int));
    sendmsg(line(), &message, MSG_NOSIGNAL);
    forever();
  }
  if (is(me, "long-log")) FRAME("\x81\xa3log\x84", n, n);
  if (is(me, "long-fault")) FRAME("\x81\xa5" "fault\x83", n, n);
  if (is(me, "long-progress")) FRAME("\x81\xa8progress\x83", n, n);
  if (is(me, "long-answer")) FRAME("\x81\xa8selected\x82", n, n);
  if (is(me, "long-tensor")) FRAME("\x81\xa4" "call\x82\xa2id\x01\xa3" "ask\x81\xaatensor-put\x83", n, n);
  if (is(me, "long-question")) FRAME("\x81\xa4" "call\x82\xa2id\x01\xa3" "ask\x81\xa6random\x82", n, n);
  if (is(me, "long-unknown")) FRAME("\x81\xa7unknown\x82", n, n);
  if (is(me, "long-error")) {
    char *text = malloc(n);
    memset(text, 'e', n);
    return fail(fault, text, n);
  }
  if (is(me, "long-lines"))
    for (int i = 0; i < 3000; i++) {
      coldstart_text_v1 target = COLDSTART_TEXT_V1("greedy"), text = {junk, 100000};
      host->log(to, 2, target, text, NOTHING);
    }
  if (is(me, "artifacts") || is(me, "many-artifacts"))
    for (long i = 0; i < me->n; i++) {
      int32_t code = put_artifact(host, i, is(me, "artifacts") ? MIB : 10, fault);
      if (code) return code;
    }
  return 0;
}

static int32_t act_at(const greedy *me, const char *at, const coldstart_host_v1 *host, coldstart_fault_v1 *fault) {
  return strcmp(me->at, at) ? 0 : act(me, host, fault);
}

static int32_t choose(void *object, const coldstart_request_v1 *request, const coldstart_host_v1 *host,
                      coldstart_selection_v1 *selection, coldstart_fault_v1 *fault) {
  greedy *me = object;
  int32_t code = act_at(me, "select", host, fault);
  if (code) return code;
  uint64_t got = 0, *ids = malloc(8 * (request->budget + 1));
  code = host->tensor_read(host->head.object, request->unlabelled, 0, (uint8_t *)ids, 8 * request->budget, &got, fault);
  if (code) return code;
  selection->head.release = free, selection->head.object = ids;
  selection->ids = ids, selection->n_ids = got / 8;
  return 0;
}

static int32_t save(void *object, coldstart_owned_bytes_v1 *state, coldstart_fault_v1 *fault) {
  greedy *me = object;
  size_t n = is(me, "large-state") ? (size_t)me->n * MIB : 4;
  uint8_t *bytes = calloc(1, n);
  if (!bytes) return COLDSTART_OUT_OF_MEMORY;
  state->bytes.ptr = bytes, state->bytes.len = n;
  state->head.release = free, state->head.object = bytes;
  return act_at(me, "save", NULL, fault);
}

static int32_t load(void *object, coldstart_bytes_v1 state, coldstart_fault_v1 *fault) {
  (void)state;
  return act_at(object, "load", NULL, fault);
}

static void field(coldstart_text_v1 json, const char *name, char *to, size_t most) {
  char key[32] = "\"";
  strcat(strcat(key, name), "\":\"");
  const char *at = memmem(json.ptr, json.len, key, strlen(key));
  if (!at) return;
  at += strlen(key);
  for (size_t i = 0; i + 1 < most && at[i] != '"'; i++) to[i] = at[i];
}

static int32_t create(void *object, coldstart_text_v1 name, coldstart_text_v1 json, const coldstart_host_v1 *host,
                      const coldstart_selector_v1 **selector, coldstart_fault_v1 *fault) {
  (void)object, (void)name;
  greedy *me = calloc(1, sizeof *me);
  me->table.head = (coldstart_head_v1)COLDSTART_HEAD_V1(coldstart_selector_v1);
  me->table.head.release = free, me->table.head.object = me;
  me->table.select = choose, me->table.save = save, me->table.load = load;
  field(json, "mode", me->mode, sizeof me->mode), field(json, "at", me->at, sizeof me->at);
  const char *n = memmem(json.ptr, json.len, "\"n\":", 4);
  if (n) me->n = strtol(n + 4, NULL, 10);
  *selector = &me->table;
  return act_at(me, "create", host, fault);
}

const coldstart_plugin_v1 coldstart_plugin_entry_v1 = {COLDSTART_HEAD_V1(coldstart_plugin_v1), COLDSTART_TEXT_V1(coldstart_manifest), create};
