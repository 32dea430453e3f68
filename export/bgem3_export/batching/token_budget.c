/*
 * A batching strategy for Triton's dynamic batcher: a batch holds at most so many tokens.
 *
 * Triton counts requests (max_batch_size); this library, which Triton finds by its name
 * batchstrategy.so, also counts their tokens. The parameters of the model's configuration:
 *
 *   max_batch_tokens   the budget; without it this library has no say in the model's batches.
 *   batch_cost         "tokens" (default): the sum of the tokens, for a body that packs them.
 *                      "padded": texts times the longest of them, for a body that pads.
 *
 * A request that is above the budget by itself is a batch of its own.
 *
 * One thing is not in Triton's documentation. A batch that waits for an instance goes on taking
 * requests, and each time Triton calls ModelBatchInitialize anew, as if the batch were empty; a
 * strategy that believes it keeps no budget while the model is busy
 * (triton-inference-server/server#6458). So the batch is recognised here, by the place where Triton keeps its user pointer.
 * Triton opens a new batch twice, with nothing but ModelBatchFinalize in between (NewPayload and
 * then GetDynamicBatch in core's dynamic_batch_scheduler.cc), and one that it goes on filling once.
 *
 * Triton calls all of this from the one thread that forms a model's batches: nothing is locked.
 */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What is used of Triton's C API, as in core's tritonserver.h and tritonbackend.h, API 1.x. */
typedef struct TRITONSERVER_Error TRITONSERVER_Error;
typedef struct TRITONSERVER_Message TRITONSERVER_Message;
typedef struct TRITONBACKEND_Batcher TRITONBACKEND_Batcher;
typedef struct TRITONBACKEND_Input TRITONBACKEND_Input;
typedef struct TRITONBACKEND_Model TRITONBACKEND_Model;
typedef struct TRITONBACKEND_Request TRITONBACKEND_Request;

enum { TRITONSERVER_ERROR_INTERNAL = 1, TRITONSERVER_ERROR_INVALID_ARG = 3 };
enum { TRITONSERVER_MEMORY_GPU = 2 };

TRITONSERVER_Error* TRITONSERVER_ErrorNew(int code, const char* message);
TRITONSERVER_Error* TRITONSERVER_MessageDelete(TRITONSERVER_Message* message);
TRITONSERVER_Error* TRITONSERVER_MessageSerializeToJson(
    TRITONSERVER_Message* message, const char** base, size_t* byte_size);
TRITONSERVER_Error* TRITONBACKEND_ModelConfig(
    TRITONBACKEND_Model* model, uint32_t config_version, TRITONSERVER_Message** model_config);
TRITONSERVER_Error* TRITONBACKEND_RequestInput(
    TRITONBACKEND_Request* request, const char* name, TRITONBACKEND_Input** input);
TRITONSERVER_Error* TRITONBACKEND_InputProperties(
    TRITONBACKEND_Input* input, const char** name, int* datatype, const int64_t** shape,
    uint32_t* dims_count, uint64_t* byte_size, uint32_t* buffer_count);
TRITONSERVER_Error* TRITONBACKEND_InputBuffer(
    TRITONBACKEND_Input* input, uint32_t index, const void** buffer, uint64_t* buffer_byte_size,
    int* memory_type, int64_t* memory_type_id);

#define RETURN_IF_ERROR(call)              \
    do {                                   \
        TRITONSERVER_Error* error = (call); \
        if (error != NULL) return error;   \
    } while (0)

/* Both inputs of the trunk are INT32: one id a token, one length a text. */
static const uint64_t BYTES_OF_INT32 = 4;

/*
 * How long a batch that waits may refuse the next request. No batch takes that long to compute on a
 * GPU. Were a later Triton to call these functions in another order, this would be the difference
 * between a batch too large and a model that never answers.
 */
static const int64_t PATIENCE_NANOSECONDS = 30LL * 1000 * 1000 * 1000;

typedef struct {
    uint64_t tokens;
    uint64_t texts;
    uint64_t longest;
} Size;

typedef struct {
    uint64_t budget; /* 0: none */
    bool padded;
    /* The batch that is being formed. */
    const void* identity;
    uint64_t requests;
    Size size;
    /* Since Triton last opened it. */
    bool asked;
    bool taken;
    /* Between two openings. */
    bool closed_unasked;
    int64_t refusing_since_nanoseconds; /* 0: not refusing */
} Batcher;

/* ---- The model's configuration, as the JSON that Triton makes of it ---- */

typedef struct {
    const char* at;
    const char* end;
} Text;

static void skip_blanks(Text* text)
{
    while (text->at < text->end && strchr(" \t\r\n", *text->at) != NULL) text->at++;
}

/* Step over a string, whose opening quote is next, and return what it holds, escapes as they are. */
static Text read_string(Text* text)
{
    Text content = {++text->at, text->at};
    while (text->at < text->end && *text->at != '"') text->at += *text->at == '\\' ? 2 : 1;
    if (text->at > text->end) text->at = text->end;
    content.end = text->at;
    if (text->at < text->end) text->at++;
    return content;
}

/* Step over any value. */
static void skip_value(Text* text)
{
    int depth = 0;
    do {
        skip_blanks(text);
        if (text->at >= text->end) return;
        if (*text->at == '"') {
            read_string(text);
        } else {
            if (*text->at == '{' || *text->at == '[') depth++;
            if (*text->at == '}' || *text->at == ']') depth--;
            text->at++;
        }
        skip_blanks(text);
    } while (depth > 0 || (text->at < text->end && strchr(",}]", *text->at) == NULL));
}

/* Make `value` the member `key` of the object that it is at; false when there is none. */
static bool enter(Text* value, const char* key)
{
    skip_blanks(value);
    if (value->at >= value->end || *value->at != '{') return false;
    value->at++;
    for (;;) {
        skip_blanks(value);
        if (value->at >= value->end || *value->at != '"') return false;
        Text name = read_string(value);
        skip_blanks(value);
        if (value->at < value->end && *value->at == ':') value->at++;
        skip_blanks(value);
        size_t length = (size_t)(name.end - name.at);
        if (length == strlen(key) && memcmp(name.at, key, length) == 0) return true;
        skip_value(value);
        skip_blanks(value);
        if (value->at < value->end && *value->at == ',') value->at++;
    }
}

/* Read a number, or a string that holds one; false when it is something else, or above 2^53. */
static bool read_number(Text value, uint64_t* number)
{
    if (value.at < value.end && *value.at == '"') value = read_string(&value);
    const char* begin = value.at;
    for (*number = 0; value.at < value.end && *value.at >= '0' && *value.at <= '9'; value.at++) {
        *number = *number * 10 + (uint64_t)(*value.at - '0');
        if (*number > 1ULL << 53) return false;
    }
    return value.at > begin && (value.at == value.end || strchr(",}] \t\r\n", *value.at) != NULL);
}

static TRITONSERVER_Error* invalid(const char* what, Text value)
{
    char message[512];
    int shown = (int)(value.end - value.at);
    snprintf(message, sizeof message, what, shown > 100 ? 100 : shown, value.at);
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, message);
}

static bool parameter(Text config, const char* name, Text* value)
{
    if (!enter(&config, "parameters") || !enter(&config, name)) return false;
    if (!enter(&config, "string_value") || *config.at != '"') return false;
    *value = read_string(&config);
    return true;
}

static TRITONSERVER_Error* read_config(Text config, Batcher* batcher)
{
    Text value;
    if (!parameter(config, "max_batch_tokens", &value)) return NULL;
    if (!read_number(value, &batcher->budget) || batcher->budget == 0)
        return invalid(
            "the parameter max_batch_tokens of config.pbtxt is '%.*s', and must be a number of "
            "tokens, 1 or more",
            value);
    if (parameter(config, "batch_cost", &value)) {
        size_t length = (size_t)(value.end - value.at);
        batcher->padded = length == 6 && memcmp(value.at, "padded", length) == 0;
        if (!batcher->padded && (length != 6 || memcmp(value.at, "tokens", length) != 0))
            return invalid(
                "the parameter batch_cost of config.pbtxt is '%.*s', and must be tokens or padded",
                value);
    }
    uint64_t delay = 0;
    Text batching = config;
    if (enter(&batching, "dynamic_batching") && enter(&batching, "max_queue_delay_microseconds") &&
        read_number(batching, &delay) && delay > 0)
        /* With a delay Triton asks about one request several times, and joins two batches into one
         * without asking at all. */
        return TRITONSERVER_ErrorNew(
            TRITONSERVER_ERROR_INVALID_ARG,
            "max_batch_tokens cannot be kept with max_queue_delay_microseconds, by which Triton "
            "joins finished batches: remove one of the two from config.pbtxt");
    return NULL;
}

/* ---- The batch ---- */

/* The longest text of a request, or what it can be at most where its lengths cannot be read. */
static TRITONSERVER_Error* longest_text(
    TRITONBACKEND_Input* lengths, uint32_t buffers, const Size* size, uint64_t* longest)
{
    *longest = 0;
    for (uint32_t number = 0; number < buffers; number++) {
        const void* buffer = NULL;
        uint64_t bytes = 0;
        int memory_type = 0;
        int64_t memory_type_id = 0;
        RETURN_IF_ERROR(TRITONBACKEND_InputBuffer(
            lengths, number, &buffer, &bytes, &memory_type, &memory_type_id));
        if (memory_type == TRITONSERVER_MEMORY_GPU) {
            /* All other texts have one token. */
            *longest = size->tokens < size->texts ? 1 : size->tokens - size->texts + 1;
            return NULL;
        }
        for (uint64_t text = 0; text < bytes / BYTES_OF_INT32; text++) {
            int32_t length;
            memcpy(&length, (const char*)buffer + text * BYTES_OF_INT32, sizeof length);
            if (length > 0 && (uint64_t)length > *longest) *longest = (uint64_t)length;
        }
    }
    return NULL;
}

static TRITONSERVER_Error* measure(TRITONBACKEND_Request* request, bool padded, Size* size)
{
    TRITONBACKEND_Input* input = NULL;
    uint64_t bytes = 0;
    uint32_t buffers = 0;
    RETURN_IF_ERROR(TRITONBACKEND_RequestInput(request, "input_ids", &input));
    RETURN_IF_ERROR(TRITONBACKEND_InputProperties(input, NULL, NULL, NULL, NULL, &bytes, NULL));
    size->tokens = bytes / BYTES_OF_INT32;
    if (!padded) return NULL;
    RETURN_IF_ERROR(TRITONBACKEND_RequestInput(request, "lengths", &input));
    RETURN_IF_ERROR(TRITONBACKEND_InputProperties(input, NULL, NULL, NULL, NULL, &bytes, &buffers));
    size->texts = bytes / BYTES_OF_INT32;
    return longest_text(input, buffers, size, &size->longest);
}

static Size together(Size one, Size other)
{
    return (Size){
        .tokens = one.tokens + other.tokens,
        .texts = one.texts + other.texts,
        .longest = one.longest > other.longest ? one.longest : other.longest,
    };
}

static int64_t now_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Whether a batch that waits, and is full, has refused for longer than any batch computes. */
static bool is_stuck(Batcher* batcher)
{
    int64_t now = now_nanoseconds();
    if (batcher->refusing_since_nanoseconds == 0) batcher->refusing_since_nanoseconds = now;
    return now - batcher->refusing_since_nanoseconds > PATIENCE_NANOSECONDS;
}

/* ---- What Triton calls ---- */

#define EXPORTED __attribute__((visibility("default")))

/* When the model is loaded. */
EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelBatcherInitialize(
    TRITONBACKEND_Batcher** handle, TRITONBACKEND_Model* model)
{
    TRITONSERVER_Message* message = NULL;
    RETURN_IF_ERROR(TRITONBACKEND_ModelConfig(model, 1, &message));
    Batcher* batcher = calloc(1, sizeof *batcher);
    const char* json = NULL;
    size_t bytes = 0;
    TRITONSERVER_Error* error =
        batcher == NULL ? TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "out of memory")
                        : TRITONSERVER_MessageSerializeToJson(message, &json, &bytes);
    if (error == NULL) error = read_config((Text){json, json + bytes}, batcher);
    TRITONSERVER_MessageDelete(message);
    if (error != NULL) {
        free(batcher);
        return error;
    }
    *handle = (TRITONBACKEND_Batcher*)batcher;
    return NULL;
}

/* When the model is unloaded, or was refused above. */
EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelBatcherFinalize(TRITONBACKEND_Batcher* handle)
{
    free(handle);
    return NULL;
}

/* When a new batch is opened, or one that waits is opened again; `user` is a part of the batch. */
EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelBatchInitialize(
    const TRITONBACKEND_Batcher* handle, void** user)
{
    Batcher* batcher = (Batcher*)handle;
    *user = batcher;
    if (batcher == NULL) return NULL;
    if (batcher->identity != user || batcher->closed_unasked) {
        batcher->identity = user;
        batcher->requests = 0;
        batcher->size = (Size){0};
        batcher->refusing_since_nanoseconds = 0;
    }
    batcher->asked = batcher->taken = batcher->closed_unasked = false;
    return NULL;
}

/* When a batch goes to wait for an instance, or before it is opened again. */
EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelBatchFinalize(void* user)
{
    Batcher* batcher = user;
    if (batcher != NULL) batcher->closed_unasked = !batcher->asked;
    return NULL;
}

/* For each request in the queue, until one is refused. */
EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelBatchIncludeRequest(
    TRITONBACKEND_Request* request, void* user, bool* should_include)
{
    Batcher* batcher = user;
    /* An empty batch must not refuse: Triton would ask for ever. */
    *should_include = true;
    if (batcher == NULL || batcher->budget == 0) return NULL;
    batcher->asked = true;
    Size size = {0};
    RETURN_IF_ERROR(measure(request, batcher->padded, &size));
    Size sum = together(batcher->size, size);
    uint64_t cost = batcher->padded ? sum.texts * sum.longest : sum.tokens;
    if (batcher->requests > 0 && cost > batcher->budget) {
        /* After one that was taken, a refusal sends the batch off; as the first answer it only
         * makes Triton ask again, until the batch is computed. */
        *should_include = !batcher->taken && is_stuck(batcher);
        if (!*should_include) return NULL;
    }
    batcher->size = sum;
    batcher->requests++;
    batcher->taken = true;
    batcher->refusing_since_nanoseconds = 0;
    return NULL;
}
