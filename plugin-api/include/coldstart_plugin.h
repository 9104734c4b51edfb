// A strategy for Coldstart in C, or in any language that can speak it: which images shall be labelled next?
//
// Generated from coldstart-plugin-api, which is MIT OR Apache-2.0. Do not edit.
//
// A plugin is a dynamic library that exports one table, coldstart_plugin_entry_v1, and carries its manifest in a section
// of its own, so that a host can read it without running anything:
//
//     #include "coldstart_plugin.h"
//
//     COLDSTART_MANIFEST(
//         "{\"format\":1,\"name\":\"first\",\"publisher\":\"\",\"version\":\"0.1.0\","
//         "\"api\":\"" COLDSTART_API_VERSION "\",\"panic\":\"none\",\"summary\":\"The lowest ids\","
//         "\"license\":\"MIT\",\"authors\":\"Ada\",\"cite\":\"None\",\"roles\":[\"initial\",\"query\"],\"needs\":[],"
//         "\"params\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{}}}");
//
//     const coldstart_plugin_v1 coldstart_plugin_entry_v1 = {
//         COLDSTART_HEAD_V1(coldstart_plugin_v1), COLDSTART_TEXT_V1(coldstart_manifest), create};
//
// The host reads the manifest, asks `create` for an instance once a run, and the instance's `select` once a round. While
// a call lasts, the plugin may use the host that it was given: to read the ids, to ask the model, to log.
//
// Rules:
// - A function that returns a number succeeded if it is COLDSTART_OK. With any other number it may fill the fault.
// - A struct that begins with a head says how large it is. Set the head before anybody sees the struct;
//   COLDSTART_HEAD_V1 does. Later versions only append fields: look at none beyond the size that is said.
// - A function that is NULL is absent.
// - Texts are UTF-8 with a length. What a call passes in is valid until the call returns.
// - What a filled struct points to belongs to its filler, and is freed by its `head.release`, if that is not NULL.
//   Whoever receives the struct calls it, once, also after a failure.
// - Link to the C library only, without constructors: anything else is refused before it is loaded.
//
// The operations that every host has: arguments and answers are MessagePack maps, ids are tensors of COLDSTART_U64.
//
//     pool.info/1      {} answers {"images", "height", "width", "channels", "classes": [names]}
//     pool.pixels/1    {} of ids: the pixels, COLDSTART_U8 [n, height, width, channels]
//     labels.get/1     {} of labelled ids: the number of the class of each, COLDSTART_U64 [n]
//     env.info/1       {} answers {"threads", "device": "cpu" or "cuda"}
//     model.predict/1  {"outputs": [...]} of ids, from "probabilities", "logits", "embeddings": for each of them a tensor
//                      COLDSTART_F32 [n, ...]; COLDSTART_UNSUPPORTED in round 0
//     artifact.put/1   {"name", "bytes"}: keep a small file with the run
//
// A sizer (role "sizer") chooses no images. Its request's `extra` is {"least", "most"}, the bounds of the initial set, and its
// selection's `report` {"wanted", "reason", "measures": {name: number}}; examples/c/seen_twice_c.c is one. Since 1.3 it may ask
// run.info/1, who queries and who learns, and prequential.get/1, what the model said of images before they were labelled.
//
// Since 1.3 a strategy may compose others: its manifest lists under "composes" the parameters that name them, and strategy.select/1
// {"strategy", "count", "stream", "keep"} of candidates (COLDSTART_U64 [n]) answers with what one of them chooses of these.
//
// Those of later versions, such as train/1 and kmeans/1, are described in the documentation of coldstart-plugin-api,
// module `ops`. A plugin that names one among its needs is refused, before it is loaded, by a host without it.

#ifndef COLDSTART_PLUGIN_H
#define COLDSTART_PLUGIN_H


#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The contract's version that this header describes, for the manifest.
#define COLDSTART_API_VERSION "1.3.0"

// Place the manifest, a JSON text, where a host finds it. Its fields are all needed: format (1), name (kebab-case),
// publisher (or ""), version, api (COLDSTART_API_VERSION), panic ("none"), summary, license (SPDX), authors (colons
// between them), cite, roles ("initial", "query" or both; or "sizer"), needs (operations without which it cannot work),
// params (a JSON Schema; "default" is filled in). It may have criterion, a word for what the strategy goes by: see the
// documentation of coldstart-plugin-api, module `manifest`. Use it once; the text is then `coldstart_manifest`.
#define COLDSTART_MANIFEST(json)                                                                             \
  __attribute__((section(".coldstart_manifest"), used)) static const char coldstart_manifest[] = json

// A coldstart_text_v1 of a string literal or a char array: an initializer.
#define COLDSTART_TEXT_V1(text) {(text), sizeof(text) - 1}

// The head of a struct of this type with nothing to free: an initializer.
#define COLDSTART_HEAD_V1(type) {sizeof(type), COLDSTART_API_MAJOR, COLDSTART_API_MINOR, 0, NULL, NULL}


// The contract's major version: another one is refused.
#define COLDSTART_API_MAJOR 1

// The contract's minor version that this header describes.
#define COLDSTART_API_MINOR 3

// The call succeeded. Any other number is the reason of a failure; numbers that you do not know may come.
#define COLDSTART_OK 0

// The user cancelled the run: stop, and return this.
#define COLDSTART_CANCELLED 1

// The host does not offer the operation, or not now (no model is trained in round 0).
#define COLDSTART_UNSUPPORTED 2

// The parameters, arguments or state bytes are wrong.
#define COLDSTART_BAD_PARAMS 3

// Memory ran out.
#define COLDSTART_OUT_OF_MEMORY 6

// The host failed while it served an operation.
#define COLDSTART_HOST_FAILED 7

// The strategy itself reports an error.
#define COLDSTART_PLUGIN_FAILED 100

// Element type: 32-bit float.
#define COLDSTART_F32 0

// Element type: 64-bit unsigned integer.
#define COLDSTART_U64 1

// Element type: byte.
#define COLDSTART_U8 2

// UTF-8 text with its length; it need not end with a NUL. Valid for the call that it is passed to, unless said
// otherwise. `ptr` may be NULL where `len` is 0.
typedef struct {
  // The first byte.
  const char *ptr;
  // How many bytes.
  size_t len;
} coldstart_text_v1;

// Bytes with their length, valid as a text is.
typedef struct {
  // The first byte.
  const uint8_t *ptr;
  // How many bytes.
  size_t len;
} coldstart_bytes_v1;

// What every struct that may grow begins with. It never changes, not even with another major version: a stranger's
// struct can always be measured and freed.
typedef struct {
  // Bytes of the whole struct as its filler knows it. For a struct that a callee fills, the caller first writes how
  // much room there is; the callee writes nothing beyond it.
  uint32_t struct_size;
  // COLDSTART_API_MAJOR of whoever fills the struct.
  uint32_t api_major;
  // COLDSTART_API_MINOR of whoever fills the struct.
  uint32_t api_minor;
  // 0.
  uint32_t flags;
  // Frees what the struct points to. Whoever received the struct calls it once, with `object`, when it needs nothing
  // of it any more. NULL: nothing is to be freed.
  void (*release)(void *object);
  // The first argument of every function of the struct, and of `release`. Its owner's business.
  void *object;
} coldstart_head_v1;

// Why a call failed, in words. The number is the call's return value. An untouched fault is a failure without words.
typedef struct {
  // See coldstart_head_v1.
  coldstart_head_v1 head;
  // One sentence for a person. Valid until `head.release`; for ever, if that is NULL.
  coldstart_text_v1 message;
  // A MessagePack map with more, text to text (`hint`, `pointer`), or empty.
  coldstart_bytes_v1 detail;
} coldstart_fault_v1;

// Bytes that belong to whoever filled the struct, until `head.release`.
typedef struct {
  // See coldstart_head_v1.
  coldstart_head_v1 head;
  // The bytes.
  coldstart_bytes_v1 bytes;
} coldstart_owned_bytes_v1;

// What an operation of the host answers.
typedef struct {
  // See coldstart_head_v1.
  coldstart_head_v1 head;
  // The answer, a MessagePack map. Valid until `head.release`.
  coldstart_bytes_v1 message;
  // The ids of the tensors that the operation made. The array is valid until `head.release`, the tensors until the
  // call into the plugin returns or `tensor_release`.
  const uint64_t *tensors;
  // How many tensors.
  size_t n_tensors;
} coldstart_answer_v1;

// What a tensor is.
typedef struct {
  // See coldstart_head_v1.
  coldstart_head_v1 head;
  // The length of each axis. Valid until `head.release`.
  const uint64_t *shape;
  // How many axes.
  size_t n_axes;
  // COLDSTART_F32, COLDSTART_U64 or COLDSTART_U8; more numbers may come.
  uint8_t dtype;
} coldstart_tensor_info_v1;

// The services of the host, valid for the call that they are passed to and never after it. Every function may be called
// from any thread, takes `head.object` first, and blocks until it is done. Where a function returns a number,
// COLDSTART_OK is success. A fault and an answer may be NULL: then nobody wants to know.
//
// Tensors are little-endian and row-major, last axis fastest, and live in the host: a plugin holds their ids, and copies
// what it wants to see.
typedef struct {
  // See coldstart_head_v1.
  coldstart_head_v1 head;
  // Whether the host offers an operation, such as `model.predict/1`.
  bool (*supports)(void *object, coldstart_text_v1 op);
  // Call an operation: a message and tensors in, a message and tensors out.
  int32_t (*invoke)(void *object,
                    coldstart_text_v1 op,
                    coldstart_bytes_v1 args,
                    const uint64_t *inputs,
                    size_t n_inputs,
                    coldstart_answer_v1 *answer,
                    coldstart_fault_v1 *fault);
  // What a tensor is.
  int32_t (*tensor_info)(void *object,
                         uint64_t tensor,
                         coldstart_tensor_info_v1 *info,
                         coldstart_fault_v1 *fault);
  // Copy bytes of a tensor, from `byte_offset` on: at most `len`, and fewer at its end. `n_read` says how many.
  int32_t (*tensor_read)(void *object,
                         uint64_t tensor,
                         uint64_t byte_offset,
                         uint8_t *into,
                         size_t len,
                         uint64_t *n_read,
                         coldstart_fault_v1 *fault);
  // Give the host a tensor, for an operation to read.
  int32_t (*tensor_put)(void *object,
                        uint8_t dtype,
                        const uint64_t *shape,
                        size_t n_axes,
                        coldstart_bytes_v1 bytes,
                        uint64_t *tensor,
                        coldstart_fault_v1 *fault);
  // Forget a tensor. All are forgotten when the call into the plugin returns.
  void (*tensor_release)(void *object, uint64_t tensor);
  // Whether anybody reads log lines of this level: 1 error, 2 warning, 3 information, 4 debugging, 5 everything.
  bool (*log_enabled)(void *object, uint8_t level, coldstart_text_v1 target);
  // Write a log line. `fields` is a MessagePack map, text to text, or empty.
  void (*log)(void *object,
              uint8_t level,
              coldstart_text_v1 target,
              coldstart_text_v1 message,
              coldstart_bytes_v1 fields);
  // Tell the user how far a long call has come.
  void (*progress)(void *object, coldstart_text_v1 stage, uint64_t done, uint64_t total);
  // Whether the user has cancelled. Ask in long loops, and return COLDSTART_CANCELLED.
  bool (*cancelled)(void *object);
  // Fill `into` from the random stream of that name: the same bytes on every machine for the same run, round and
  // plugin. Draw from nothing else.
  void (*rng_fill)(void *object, coldstart_text_v1 stream, uint8_t *into, size_t len);
} coldstart_host_v1;

// What a strategy is asked in one round.
typedef struct {
  // See coldstart_head_v1.
  coldstart_head_v1 head;
  // How many images to choose: as many, or all unlabelled ones if there are fewer.
  uint64_t budget;
  // A tensor of the ids to choose from: COLDSTART_U64, ascending.
  uint64_t unlabelled;
  // A tensor of the ids that have a label: COLDSTART_U64, ascending.
  uint64_t labelled;
  // A MessagePack map, or empty.
  coldstart_bytes_v1 extra;
  // The seed of this run, round and plugin; `rng_fill` draws from it.
  uint8_t seed[32];
  // 0 for the initial set, then 1, 2, ...
  uint32_t round;
} coldstart_request_v1;

// What a strategy chose. The arrays belong to the plugin, until `head.release`.
typedef struct {
  // See coldstart_head_v1.
  coldstart_head_v1 head;
  // Ids in the order chosen, each from `unlabelled`, none twice.
  const uint64_t *ids;
  // How many: `budget`, or all unlabelled ones if there are fewer.
  size_t n_ids;
  // One finite score for each id, for the record; or NULL.
  const float *scores;
  // `n_ids` or 0.
  size_t n_scores;
  // A MessagePack map, or empty.
  coldstart_bytes_v1 report;
} coldstart_selection_v1;

// One instance of a strategy. It is used by one thread at a time, but not always by the same one. The same request,
// answers of the host and seed must give the same selection. A function that is NULL is absent.
//
// No exception may leave a function: catch it, and return a number.
typedef struct {
  // `head.release` frees the instance, this struct included.
  coldstart_head_v1 head;
  // Choose images. Required.
  int32_t (*select)(void *object,
                    const coldstart_request_v1 *request,
                    const coldstart_host_v1 *host,
                    coldstart_selection_v1 *selection,
                    coldstart_fault_v1 *fault);
  // The state that the next round builds on; stored after every round. Absent: there is none.
  int32_t (*save)(void *object, coldstart_owned_bytes_v1 *state, coldstart_fault_v1 *fault);
  // Take up a state made by `save`, when a run is resumed.
  int32_t (*load)(void *object, coldstart_bytes_v1 state, coldstart_fault_v1 *fault);
  // For later: an operation of the plugin. Absent: it has none.
  int32_t (*invoke)(void *object,
                    coldstart_text_v1 op,
                    coldstart_bytes_v1 args,
                    const coldstart_host_v1 *host,
                    coldstart_owned_bytes_v1 *answer,
                    coldstart_fault_v1 *fault);
} coldstart_selector_v1;

// What a plugin exports, under the name coldstart_plugin_entry_v1. It is valid for ever, and its `head.release` is never
// called: a plugin is never unloaded.
typedef struct {
  // See coldstart_head_v1.
  coldstart_head_v1 head;
  // The text of COLDSTART_MANIFEST.
  coldstart_text_v1 manifest;
  // Make an instance of the strategy `name`. `params_json` is a JSON object that fits the manifest's schema, every
  // default written out. Write the instance to `selector`; it must stay in its place until it is released. Required.
  int32_t (*create)(void *object,
                    coldstart_text_v1 name,
                    coldstart_text_v1 params_json,
                    const coldstart_host_v1 *host,
                    const coldstart_selector_v1 **selector,
                    coldstart_fault_v1 *fault);
} coldstart_plugin_v1;

#ifdef __cplusplus
extern "C" {
#endif

// The plugin: define it.
extern __attribute__((visibility("default"))) const coldstart_plugin_v1 coldstart_plugin_entry_v1;

#ifdef __cplusplus
}
#endif

#endif // COLDSTART_PLUGIN_H
