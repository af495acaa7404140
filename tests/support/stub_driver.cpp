// A libcuda.so.1 without a GPU: four devices of four architectures that check and record what they are asked.
//
// It refuses what a real driver refuses: a launch without a current context, machine code of another architecture, an
// empty or oversized grid. $STUB_FAIL names one call that fails. `stub_log` returns one line a call, for the test to read.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <string>
#include <vector>

namespace {

constexpr int kArchitectures[] = {80, 90, 100, 120};
constexpr int kDevices = 4;
enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, NO_BINARY = 209, NOT_FOUND = 500, FAILED = 719 };

struct Library { int architecture; };
struct Kernel { Library* library; std::string symbol; };

std::mutex lock;
std::string lines;
std::vector<size_t> parameter_sizes;
int contexts[kDevices];
thread_local std::vector<int*> current;

int device_of(const int* context) { return context ? int(context - contexts) : -1; }

int record(const char* call, const std::string& details = "") {
    std::lock_guard<std::mutex> held(lock);
    const char* failing = std::getenv("STUB_FAIL");
    bool fails = failing && !std::strcmp(failing, call);
    lines += std::string(call) + details + "\n";
    return fails ? FAILED : SUCCESS;
}

std::string field(const char* name, unsigned long long value) {
    return " " + std::string(name) + "=" + std::to_string(value);
}

std::string hexadecimal(const void* bytes, size_t size) {
    std::string text;
    char digits[3];
    for (size_t i = 0; i < size; i++) {
        std::snprintf(digits, sizeof digits, "%02x", static_cast<const unsigned char*>(bytes)[i]);
        text += digits;
    }
    return text;
}

}  // namespace

extern "C" {

const char* stub_log() { return lines.c_str(); }
void stub_parameter(size_t size) { parameter_sizes.push_back(size); }

int cuInit(unsigned) { return record("cuInit"); }
int cuDriverGetVersion(int* version) { *version = 13000; return SUCCESS; }

int cuDeviceGet(int* device, int ordinal) {
    int status = record("cuDeviceGet", field("device", ordinal));
    *device = ordinal;
    return ordinal < 0 || ordinal >= kDevices ? INVALID_DEVICE : status;
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
    int status = record("cuDeviceGetAttribute", field("device", device));
    int architecture = kArchitectures[device];
    *value = attribute == 75 ? architecture / 10 : attribute == 76 ? architecture % 10 : 0;
    return status;
}

int cuDevicePrimaryCtxRetain(int** context, int device) {
    *context = &contexts[device];
    return record("cuDevicePrimaryCtxRetain", field("device", device));
}

int cuCtxPushCurrent_v2(int* context) {
    int status = record("cuCtxPushCurrent", field("device", device_of(context)));
    if (status == SUCCESS) current.push_back(context);
    return status;
}

int cuCtxPopCurrent_v2(int** context) {
    int status = record("cuCtxPopCurrent");
    if (current.empty()) return INVALID_CONTEXT;
    if (context) *context = current.back();
    current.pop_back();
    return status;
}

int cuCtxGetCurrent(int** context) {
    *context = current.empty() ? nullptr : current.back();
    return SUCCESS;
}

int cuLibraryLoadData(Library** library, const void* code, void*, void*, unsigned, void*, void*, unsigned) {
    uint32_t flags;
    std::memcpy(&flags, static_cast<const char*>(code) + 0x30, sizeof flags);
    int architecture = int(flags >> 8 & 0xff);
    if (std::memcmp(code, "\x7f" "ELF", 4)) return NO_BINARY;
    *library = new Library{architecture};
    return record("cuLibraryLoadData", field("architecture", architecture));
}

int cuLibraryGetKernel(Kernel** kernel, Library* library, const char* symbol) {
    *kernel = new Kernel{library, symbol};
    return record("cuLibraryGetKernel", " symbol=" + std::string(symbol));
}

int cuLaunchKernel(Kernel* kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** parameters, void**) {
    if (current.empty()) return INVALID_CONTEXT;
    int device = device_of(current.back());
    if (kernel->library->architecture != kArchitectures[device]) return NO_BINARY;
    if (!gx || gx > 2147483647u || !gy || gy > 65535 || !gz || gz > 65535 || !bx || bx * by * bz > 1024) return INVALID_VALUE;
    std::string details = field("device", device) + field("stream", reinterpret_cast<uintptr_t>(stream));
    details += field("blocks", 1ull * gx * gy * gz) + field("threads", 1ull * bx * by * bz) + field("shared", shared);
    details += " symbol=" + kernel->symbol + " parameters=";
    for (size_t i = 0; i < parameter_sizes.size(); i++)
        details += (i ? "," : "") + hexadecimal(parameters[i], parameter_sizes[i]);
    return record("cuLaunchKernel", details);
}

int cuGetErrorName(int, const char** text) { *text = "CUDA_ERROR_OF_THE_STUB"; return SUCCESS; }
int cuGetErrorString(int, const char** text) { *text = "the stub was told to fail"; return SUCCESS; }

// NVRTC asks the driver for this one when it finds a driver.
int cuGetExportTable(const void** table, const void*) { *table = nullptr; return NOT_FOUND; }

// The bindings resolve every function through this one; what the stub lacks is reported as not found.
int cuGetProcAddress_v2(const char* symbol, void** function, int, uint64_t, int* found) {
    void* self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    *function = dlsym(self, (std::string(symbol) + "_v2").c_str());
    if (!*function) *function = dlsym(self, symbol);
    if (found) *found = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}

}  // extern "C"
