// margin-c: the images whose two most probable classes are closest. Without a model: every n-th image.

#include "coldstart_plugin.h"

#include <stdlib.h>
#include <string.h>

COLDSTART_MANIFEST(
    "{\"format\":1,\"name\":\"margin-c\",\"publisher\":\"coldstart\",\"version\":\"0.1.0\","
    "\"api\":\"" COLDSTART_API_VERSION "\",\"panic\":\"none\","
    "\"summary\":\"Chooses the images whose two most probable classes are closest; every n-th without a model\","
    "\"license\":\"MIT OR Apache-2.0\",\"authors\":\"The Coldstart developers\","
    "\"cite\":\"Scheffer, Decomain and Wrobel 2001, Active Hidden Markov Models for Information Extraction\","
    "\"roles\":[\"initial\",\"query\"],\"needs\":[\"model.predict/1\"],"
    "\"params\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"every\":{\"type\":\"integer\",\"default\":1,\"minimum\":1,\"maximum\":1000,"
    "\"description\":\"Without a model: the distance between chosen images, in unlabelled ones.\"}}}}");

// An instance: its table, which the host gets, and its parameter.
typedef struct {
  coldstart_selector_v1 table;
  uint64_t every;
} margin_t;

// One image: where it stands among the unlabelled ones, and how much it is wanted.
typedef struct {
  size_t position;
  float score;
} scored_t;

// The message is a string literal: nothing has to be released.
static int32_t fail(coldstart_fault_v1 *fault, int32_t code, const char *message) {
  fault->message.ptr = message;
  fault->message.len = strlen(message);
  return code;
}

// Copy a whole tensor; `*bytes` is the caller's to free, its length goes to `*len`.
static int32_t read_tensor(const coldstart_host_v1 *host, uint64_t tensor, size_t element, void **bytes, size_t *len,
                           coldstart_fault_v1 *fault) {
  coldstart_tensor_info_v1 info = {.head = COLDSTART_HEAD_V1(coldstart_tensor_info_v1)};
  int32_t code = host->tensor_info(host->head.object, tensor, &info, fault);
  if (code != COLDSTART_OK) return code;
  *len = element;
  for (size_t axis = 0; axis < info.n_axes; axis++) *len *= info.shape[axis];
  if (info.head.release) info.head.release(info.head.object);
  *bytes = malloc(*len ? *len : 1);
  if (!*bytes) return fail(fault, COLDSTART_OUT_OF_MEMORY, "no memory for a tensor");
  uint64_t n_read = 0;
  code = host->tensor_read(host->head.object, tensor, 0, *bytes, *len, &n_read, fault);
  if (code == COLDSTART_OK && n_read != *len) code = fail(fault, COLDSTART_HOST_FAILED, "the tensor is cut off");
  if (code != COLDSTART_OK) free(*bytes);
  return code;
}

// Ask the model about the unlabelled images: `*probs_nc` is the caller's to free.
static int32_t predict(const coldstart_host_v1 *host, uint64_t ids, void **probs_nc, size_t *len,
                       coldstart_fault_v1 *fault) {
  // {"outputs": ["probabilities"]}: a map of one, a text of 7, an array of one, a text of 13.
  static const char args[] = "\x81\xa7outputs\x91\xadprobabilities";
  coldstart_text_v1 op = COLDSTART_TEXT_V1("model.predict/1");
  coldstart_bytes_v1 message = {(const uint8_t *)args, sizeof args - 1};
  coldstart_answer_v1 answer = {.head = COLDSTART_HEAD_V1(coldstart_answer_v1)};
  int32_t code = host->invoke(host->head.object, op, message, &ids, 1, &answer, fault);
  if (code != COLDSTART_OK) return code;
  uint64_t probabilities = answer.n_tensors == 1 ? answer.tensors[0] : 0;
  if (answer.head.release) answer.head.release(answer.head.object);
  code = read_tensor(host, probabilities, sizeof(float), probs_nc, len, fault);
  host->tensor_release(host->head.object, probabilities);
  return code;
}

// 1 minus the difference of the two highest probabilities, so that larger is more wanted.
static float margin(const float *probs_c, size_t n_classes) {
  float first = 0, second = 0;
  for (size_t c = 0; c < n_classes; c++) {
    if (probs_c[c] > first) {
      second = first;
      first = probs_c[c];
    } else if (probs_c[c] > second) {
      second = probs_c[c];
    }
  }
  return 1.0f - (first - second);
}

// Highest score first; equal ones by position, which is by id.
static int by_rank(const void *left, const void *right) {
  const scored_t *a = left, *b = right;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  return a->position < b->position ? -1 : 1;
}

// Score all `n` images, and rank them.
static int32_t rank(const coldstart_host_v1 *host, uint64_t unlabelled, size_t n, scored_t *ranked,
                    coldstart_fault_v1 *fault) {
  void *probs_nc = NULL;
  size_t len = 0;
  int32_t code = predict(host, unlabelled, &probs_nc, &len, fault);
  if (code != COLDSTART_OK) return code;
  size_t n_classes = n ? len / sizeof(float) / n : 0;
  for (size_t i = 0; i < n; i++) {
    ranked[i] = (scored_t){i, margin((const float *)probs_nc + i * n_classes, n_classes)};
  }
  free(probs_nc);
  qsort(ranked, n, sizeof *ranked, by_rank);
  return COLDSTART_OK;
}

// Write down the first `n_chosen` of the ranked images, or of every n-th one.
static int32_t answer_with(const uint64_t *ids, const scored_t *ranked, size_t n, uint64_t every, size_t n_chosen,
                           coldstart_selection_v1 *selection, coldstart_fault_v1 *fault) {
  size_t n_bytes = n_chosen * (sizeof(uint64_t) + sizeof(float));
  uint64_t *chosen = malloc(n_bytes ? n_bytes : 1);
  if (!chosen) return fail(fault, COLDSTART_OUT_OF_MEMORY, "no memory for the selection");
  float *scores = (float *)(chosen + n_chosen);
  size_t position = 0, start = 0;
  for (size_t i = 0; i < n_chosen; i++) {
    chosen[i] = ids[ranked ? ranked[i].position : position];
    if (ranked) scores[i] = ranked[i].score;
    position += every;
    if (position >= n) position = ++start; // another round, one image further
  }
  selection->head.release = free;
  selection->head.object = chosen;
  selection->ids = chosen;
  selection->n_ids = n_chosen;
  selection->scores = ranked ? scores : NULL;
  selection->n_scores = ranked ? n_chosen : 0;
  return COLDSTART_OK;
}

static int32_t select_images(void *object, const coldstart_request_v1 *request, const coldstart_host_v1 *host,
                             coldstart_selection_v1 *selection, coldstart_fault_v1 *fault) {
  const margin_t *instance = object;
  void *ids = NULL;
  size_t len = 0;
  int32_t code = read_tensor(host, request->unlabelled, sizeof(uint64_t), &ids, &len, fault);
  if (code != COLDSTART_OK) return code;
  size_t n = len / sizeof(uint64_t);
  size_t n_chosen = request->budget < n ? (size_t)request->budget : n;
  scored_t *ranked = NULL;
  if (request->round > 0) {
    ranked = malloc((n ? n : 1) * sizeof *ranked);
    code = ranked ? rank(host, request->unlabelled, n, ranked, fault)
                  : fail(fault, COLDSTART_OUT_OF_MEMORY, "no memory for the scores");
  }
  if (code == COLDSTART_OK) code = answer_with(ids, ranked, n, instance->every, n_chosen, selection, fault);
  free(ranked);
  free(ids);
  return code;
}

// The number behind `"every":`. The host has held the parameters against the schema; ours are that simple.
static uint64_t read_every(coldstart_text_v1 params_json) {
  static const char key[] = "\"every\":";
  for (size_t i = 0; i + sizeof key <= params_json.len; i++) {
    if (memcmp(params_json.ptr + i, key, sizeof key - 1) != 0) continue;
    uint64_t every = 0;
    for (i += sizeof key - 1; i < params_json.len; i++) {
      char c = params_json.ptr[i];
      if (c >= '0' && c <= '9') every = every * 10 + (uint64_t)(c - '0');
      else if (c != ' ') break;
    }
    return every;
  }
  return 1;
}

static int32_t create(void *object, coldstart_text_v1 name, coldstart_text_v1 params_json,
                      const coldstart_host_v1 *host, const coldstart_selector_v1 **selector,
                      coldstart_fault_v1 *fault) {
  (void)object, (void)host;
  static const char ours[] = "margin-c";
  if (name.len != sizeof ours - 1 || memcmp(name.ptr, ours, name.len) != 0) {
    return fail(fault, COLDSTART_PLUGIN_FAILED, "this plugin offers `margin-c` only");
  }
  uint64_t every = read_every(params_json);
  if (every == 0) return fail(fault, COLDSTART_BAD_PARAMS, "`every` must be at least 1");
  margin_t *instance = calloc(1, sizeof *instance);
  if (!instance) return fail(fault, COLDSTART_OUT_OF_MEMORY, "no memory for an instance");
  instance->table.head = (coldstart_head_v1)COLDSTART_HEAD_V1(coldstart_selector_v1);
  instance->table.head.release = free;
  instance->table.head.object = instance;
  instance->table.select = select_images;
  instance->every = every;
  *selector = &instance->table;
  return COLDSTART_OK;
}

const coldstart_plugin_v1 coldstart_plugin_entry_v1 = {
    COLDSTART_HEAD_V1(coldstart_plugin_v1), COLDSTART_TEXT_V1(coldstart_manifest), create};
