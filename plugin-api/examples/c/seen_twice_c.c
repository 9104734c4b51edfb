// seen-twice-c: a sizer. The initial set is large enough once no class has been seen only once.

#include "coldstart_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

COLDSTART_MANIFEST(
    "{\"format\":1,\"name\":\"seen-twice-c\",\"publisher\":\"coldstart\",\"version\":\"0.1.0\","
    "\"api\":\"" COLDSTART_API_VERSION "\",\"panic\":\"none\","
    "\"summary\":\"Says when no class has been seen only once\","
    "\"license\":\"MIT OR Apache-2.0\",\"authors\":\"The Coldstart developers\","
    "\"cite\":\"Good 1953, The Population Frequencies of Species and the Estimation of Population Parameters\","
    "\"roles\":[\"sizer\"],\"needs\":[\"labels.get/1\"],"
    "\"params\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{}}}");

// The longest report: a map of three, two numbers of 9 bytes, a reason of 100.
#define MOST_REPORT 160

// The message is a string literal: nothing has to be released.
static int32_t fail(coldstart_fault_v1 *fault, int32_t code, const char *message) {
  fault->message.ptr = message;
  fault->message.len = strlen(message);
  return code;
}

// A whole number of MessagePack at `bytes`, which ends before `end`; 0 where there is none.
static uint64_t read_number(const uint8_t *bytes, const uint8_t *end) {
  if (bytes >= end) return 0;
  if (*bytes < 0x80) return *bytes;
  size_t n_bytes = *bytes >= 0xcc && *bytes <= 0xcf ? (size_t)1 << (*bytes - 0xcc) : 0;
  if ((size_t)(end - bytes) <= n_bytes) return 0;
  uint64_t number = 0;
  for (size_t i = 1; i <= n_bytes; i++) number = number << 8 | bytes[i];
  return number;
}

// The bound `least`, a number behind its name in the map {"least", "most"}.
static uint64_t least_of(coldstart_bytes_v1 bounds) {
  static const char key[] = "\xa5least";
  const uint8_t *end = bounds.ptr + bounds.len;
  for (const uint8_t *at = bounds.ptr; at + sizeof key <= end; at++) {
    if (memcmp(at, key, sizeof key - 1) == 0) return read_number(at + sizeof key - 1, end);
  }
  return 1;
}

static uint8_t *put_text(uint8_t *at, const char *text) {
  size_t len = strlen(text);
  *at++ = 0xd9; // a text of up to 255 bytes
  *at++ = (uint8_t)len;
  memcpy(at, text, len);
  return at + len;
}

static uint8_t *put_number(uint8_t *at, uint64_t number) {
  *at++ = 0xcf; // eight bytes, the highest first
  for (int shift = 56; shift >= 0; shift -= 8) *at++ = (uint8_t)(number >> shift);
  return at;
}

// Answer {"wanted", "reason", "measures": {"seen_once"}}.
static int32_t answer_with(uint64_t wanted, const char *reason, uint64_t seen_once, coldstart_selection_v1 *selection,
                           coldstart_fault_v1 *fault) {
  uint8_t *report = malloc(MOST_REPORT);
  if (!report) return fail(fault, COLDSTART_OUT_OF_MEMORY, "no memory for the report");
  uint8_t *at = report;
  *at++ = 0x83; // a map of three
  at = put_number(put_text(at, "wanted"), wanted);
  at = put_text(put_text(at, "reason"), reason);
  at = put_text(at, "measures");
  *at++ = 0x81; // a map of one
  at = put_number(put_text(at, "seen_once"), seen_once);
  selection->head.release = free;
  selection->head.object = report;
  selection->report.ptr = report;
  selection->report.len = (size_t)(at - report);
  return COLDSTART_OK;
}

// Copy the numbers of a tensor; `*numbers` is the caller's to free.
static int32_t read_numbers(const coldstart_host_v1 *host, uint64_t tensor, uint64_t **numbers, size_t *n,
                            coldstart_fault_v1 *fault) {
  coldstart_tensor_info_v1 info = {.head = COLDSTART_HEAD_V1(coldstart_tensor_info_v1)};
  int32_t code = host->tensor_info(host->head.object, tensor, &info, fault);
  if (code != COLDSTART_OK) return code;
  *n = info.n_axes == 1 ? info.shape[0] : 0;
  if (info.head.release) info.head.release(info.head.object);
  size_t n_bytes = *n * sizeof(uint64_t);
  *numbers = malloc(n_bytes ? n_bytes : 1);
  if (!*numbers) return fail(fault, COLDSTART_OUT_OF_MEMORY, "no memory for a tensor");
  uint64_t n_read = 0;
  code = host->tensor_read(host->head.object, tensor, 0, (uint8_t *)*numbers, n_bytes, &n_read, fault);
  if (code == COLDSTART_OK && n_read != n_bytes) code = fail(fault, COLDSTART_HOST_FAILED, "the tensor is cut off");
  if (code != COLDSTART_OK) free(*numbers);
  return code;
}

// The class of every labelled image; `*labels` is the caller's to free.
static int32_t labels_of(const coldstart_host_v1 *host, uint64_t labelled, uint64_t **labels, size_t *n,
                         coldstart_fault_v1 *fault) {
  static const uint8_t no_args[] = {0x80}; // an empty map
  coldstart_text_v1 op = COLDSTART_TEXT_V1("labels.get/1");
  coldstart_bytes_v1 message = {no_args, sizeof no_args};
  coldstart_answer_v1 answer = {.head = COLDSTART_HEAD_V1(coldstart_answer_v1)};
  int32_t code = host->invoke(host->head.object, op, message, &labelled, 1, &answer, fault);
  if (code != COLDSTART_OK) return code;
  uint64_t tensor = answer.n_tensors == 1 ? answer.tensors[0] : 0;
  if (answer.head.release) answer.head.release(answer.head.object);
  code = read_numbers(host, tensor, labels, n, fault);
  host->tensor_release(host->head.object, tensor);
  return code;
}

static int by_number(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
  return a < b ? -1 : a > b;
}

// How many numbers occur once; sorts them.
static uint64_t count_single(uint64_t *numbers, size_t n) {
  qsort(numbers, n, sizeof *numbers, by_number);
  uint64_t n_single = 0;
  for (size_t i = 0; i < n; i++) {
    int is_single = (i == 0 || numbers[i - 1] != numbers[i]) && (i + 1 == n || numbers[i + 1] != numbers[i]);
    n_single += (uint64_t)is_single;
  }
  return n_single;
}

static int32_t say_size(void *object, const coldstart_request_v1 *request, const coldstart_host_v1 *host,
                        coldstart_selection_v1 *selection, coldstart_fault_v1 *fault) {
  (void)object;
  uint64_t *labels = NULL;
  size_t n = 0;
  int32_t code = labels_of(host, request->labelled, &labels, &n, fault);
  if (code != COLDSTART_OK) return code;
  uint64_t n_single = count_single(labels, n);
  free(labels);
  if (n == 0) return answer_with(least_of(request->extra), "nothing is labelled yet", 0, selection, fault);
  char reason[100];
  snprintf(reason, sizeof reason, "%llu classes have been seen once", (unsigned long long)n_single);
  uint64_t round = request->budget ? request->budget : 1;
  return answer_with(n_single ? n + round : n, reason, n_single, selection, fault);
}

// It keeps nothing between rounds: all instances are this one.
static const coldstart_selector_v1 instance = {.head = COLDSTART_HEAD_V1(coldstart_selector_v1), .select = say_size};

static int32_t create(void *object, coldstart_text_v1 name, coldstart_text_v1 params_json,
                      const coldstart_host_v1 *host, const coldstart_selector_v1 **selector,
                      coldstart_fault_v1 *fault) {
  (void)object, (void)params_json, (void)host;
  static const char ours[] = "seen-twice-c";
  if (name.len != sizeof ours - 1 || memcmp(name.ptr, ours, name.len) != 0) {
    return fail(fault, COLDSTART_PLUGIN_FAILED, "this plugin offers `seen-twice-c` only");
  }
  *selector = &instance;
  return COLDSTART_OK;
}

const coldstart_plugin_v1 coldstart_plugin_entry_v1 = {
    COLDSTART_HEAD_V1(coldstart_plugin_v1), COLDSTART_TEXT_V1(coldstart_manifest), create};
