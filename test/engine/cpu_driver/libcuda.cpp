// A stand-in for NVIDIA's driver library, for tests without a GPU: "GPU memory" is memory, and kernels run on the CPU, from
// the very source that the GPU runs. Stricter than a GPU where that finds mistakes: nothing that is queued on a stream
// happens before the stream is waited for, and every block is counted.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda_on_cpu.h"
#include KERNELS  // resize.cu

namespace {
using Work = std::function<void()>;
using Works = std::vector<Work>;
using Kernel = std::function<Work(void **, Dim, Dim)>;
struct Stream { Works queue; std::unique_ptr<Works> captured; };

enum Status { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, NOT_FOUND = 500 };
thread_local bool current = false;
size_t room = size_t(1) << 30;
int retained = 0, streams = 0, graphs = 0, modules = 0;
std::map<void *, size_t> device, pinned;
std::string failing;
int failing_status = 0, failing_skip = 0;

// The arguments are copied at the call, as the driver does.
template <class... Types> Kernel kernel(void (*function)(Types...)) {
    return [function](void **arguments, Dim grid, Dim block) -> Work {
        auto copy = std::make_shared<std::vector<std::vector<char>>>();
        size_t sizes[] = {sizeof(Types)...}, i = 0;
        for (size_t size : sizes) { copy->emplace_back((char *)arguments[i], (char *)arguments[i] + size); ++i; }
        return [=] {
            std::vector<void *> pointers;
            for (auto &each : *copy) pointers.push_back(each.data());
            run(function, pointers.data(), grid, block, std::index_sequence_for<Types...>());
        };
    };
}
std::map<std::string, Kernel> kernels = {{"resize_images", kernel(resize_images)}, {"resize_maps", kernel(resize_maps)}};

int failure(const char *name) {
    if (failing != name || failing_skip-- > 0) return SUCCESS;
    return failing_status;
}
size_t used() { size_t sum = 0; for (auto &each : device) sum += each.second; return sum; }
int submit(Stream *stream, Work work) {
    (stream->captured ? *stream->captured : stream->queue).push_back(std::move(work));
    return SUCCESS;
}
// Is [address, address + size) within one block?
bool inside(std::map<void *, size_t> &blocks, void *address, size_t size) {
    auto after = blocks.upper_bound(address);
    if (after == blocks.begin()) return false;
    auto block = std::prev(after);
    return (char *)address + size <= (char *)block->first + block->second;
}
int give(std::map<void *, size_t> &blocks, void **address, size_t size) {
    *address = malloc(size);
    memset(*address, 0xa5, size);
    blocks[*address] = size;
    return SUCCESS;
}
int take(std::map<void *, size_t> &blocks, void *address) {
    if (!blocks.erase(address)) return INVALID_VALUE;
    free(address);
    return SUCCESS;
}
}  // namespace

#define CALL(name) if (int status = failure(name)) return status
#define CALL_IN_CONTEXT(name) CALL(name); if (!current) return INVALID_CONTEXT

extern "C" {
// For the tests.
void stand_in_room(size_t bytes) { room = bytes; }
void stand_in_fail(const char *name, int status, int skip) { failing = name; failing_status = status; failing_skip = skip; }
void stand_in_counts(int *counts) {
    int all[] = {int(device.size()), int(pinned.size()), streams, graphs, modules, retained};
    memcpy(counts, all, sizeof all);
}
int stand_in_submit(Stream *stream, void (*function)(long), long argument) {
    return submit(stream, [=] { function(argument); });
}

// Of the driver.
int cuInit(unsigned) { CALL("cuInit"); return SUCCESS; }
int cuDriverGetVersion(int *version) { *version = 12040; return SUCCESS; }
int cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
int cuDeviceGet(int *found, int ordinal) { *found = ordinal; return ordinal ? INVALID_VALUE : SUCCESS; }
int cuDeviceGetName(char *name, int length, int) { strncpy(name, "a CPU that stands in for a GPU", length); return SUCCESS; }
int cuDeviceTotalMem_v2(size_t *bytes, int) { *bytes = room; return SUCCESS; }
int cuDeviceGetAttribute(int *value, int attribute, int) { *value = attribute == 75 ? 8 : 0; return SUCCESS; }
int cuDevicePrimaryCtxRetain(void **context, int) { CALL("cuDevicePrimaryCtxRetain"); *context = &retained; ++retained; return SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { --retained; return SUCCESS; }
int cuCtxSetCurrent(void *context) { current = context == &retained && retained > 0; return current ? SUCCESS : INVALID_CONTEXT; }
int cuMemGetInfo_v2(size_t *unused, size_t *total) { *total = room; *unused = room - used(); return SUCCESS; }
int cuMemAlloc_v2(void **address, size_t size) {
    CALL_IN_CONTEXT("cuMemAlloc");
    return used() + size > room ? OUT_OF_MEMORY : give(device, address, size);
}
int cuMemFree_v2(void *address) { CALL_IN_CONTEXT("cuMemFree"); return take(device, address); }
int cuMemHostAlloc(void **address, size_t size, unsigned) { CALL_IN_CONTEXT("cuMemHostAlloc"); return give(pinned, address, size); }
int cuMemFreeHost(void *address) { CALL_IN_CONTEXT("cuMemFreeHost"); return take(pinned, address); }
int cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t size, Stream *stream) {
    CALL_IN_CONTEXT("cuMemcpyHtoDAsync");
    if (!inside(device, to, size)) return INVALID_VALUE;
    return submit(stream, [=] { memcpy(to, from, size); });
}
int cuMemcpyDtoHAsync_v2(void *to, void *from, size_t size, Stream *stream) {
    CALL_IN_CONTEXT("cuMemcpyDtoHAsync");
    if (!inside(device, from, size) || !inside(pinned, to, size)) return INVALID_VALUE;
    return submit(stream, [=] { memcpy(to, from, size); });
}
int cuStreamCreate(Stream **stream, unsigned) { CALL_IN_CONTEXT("cuStreamCreate"); *stream = new Stream; ++streams; return SUCCESS; }
int cuStreamDestroy_v2(Stream *stream) { CALL_IN_CONTEXT("cuStreamDestroy"); delete stream; --streams; return SUCCESS; }
int cuStreamSynchronize(Stream *stream) {
    CALL_IN_CONTEXT("cuStreamSynchronize");
    if (stream->captured) return INVALID_VALUE;
    for (auto &work : stream->queue) work();
    stream->queue.clear();
    return SUCCESS;
}
int cuStreamBeginCapture_v2(Stream *stream, int) {
    CALL_IN_CONTEXT("cuStreamBeginCapture");
    if (!stream->queue.empty()) return INVALID_VALUE;
    stream->captured = std::make_unique<Works>();
    return SUCCESS;
}
int cuStreamEndCapture(Stream *stream, Works **graph) {
    CALL_IN_CONTEXT("cuStreamEndCapture");
    if (!stream->captured) return INVALID_VALUE;
    *graph = stream->captured.release();
    ++graphs;
    return SUCCESS;
}
int cuGraphInstantiateWithFlags(Works **executable, Works *graph, unsigned long long) {
    CALL_IN_CONTEXT("cuGraphInstantiate");
    *executable = new Works(*graph);
    ++graphs;
    return SUCCESS;
}
int cuGraphLaunch(Works *executable, Stream *stream) {
    CALL_IN_CONTEXT("cuGraphLaunch");
    for (auto &work : *executable) submit(stream, work);
    return SUCCESS;
}
int cuGraphExecDestroy(Works *executable) { CALL_IN_CONTEXT("cuGraphExecDestroy"); delete executable; --graphs; return SUCCESS; }
int cuGraphDestroy(Works *graph) { CALL_IN_CONTEXT("cuGraphDestroy"); delete graph; --graphs; return SUCCESS; }
int cuModuleLoadData(void **module, const char *text) {
    CALL_IN_CONTEXT("cuModuleLoadData");
    *module = new std::string(text);
    ++modules;
    return SUCCESS;
}
int cuModuleUnload(std::string *module) { CALL_IN_CONTEXT("cuModuleUnload"); delete module; --modules; return SUCCESS; }
int cuModuleGetFunction(Kernel **found, std::string *module, const char *name) {
    CALL_IN_CONTEXT("cuModuleGetFunction");
    if (module->find(std::string(".entry ") + name + "(") == std::string::npos) return NOT_FOUND;
    *found = &kernels.at(name);
    return SUCCESS;
}
int cuLaunchKernel(Kernel *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned,
                   Stream *stream, void **arguments, void **) {
    CALL_IN_CONTEXT("cuLaunchKernel");
    return submit(stream, (*kernel)(arguments, {gx, gy, gz}, {bx, by, bz}));
}
int cuGetErrorString(int status, const char **text) { *text = status == OUT_OF_MEMORY ? "out of memory" : "went wrong"; return SUCCESS; }
int cuGetErrorName(int, const char **text) { *text = "CUDA_ERROR"; return SUCCESS; }

// How cuda-python finds the rest.
int cuGetProcAddress_v2(const char *name, void **function, int, uint64_t, int *status) {
    std::string symbol = name;
    for (const char *suffix : {"", "_v2"})
        if ((*function = dlsym(RTLD_DEFAULT, (symbol + suffix).c_str()))) break;
    if (!*function) {
        static void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
        for (const char *suffix : {"", "_v2"})
            if (self && (*function = dlsym(self, (symbol + suffix).c_str()))) break;
    }
    if (status) *status = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}
}
