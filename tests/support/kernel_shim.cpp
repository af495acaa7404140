// The kernel's own __global__ function on the CPU, thread by thread: for the sanitizers, and to compare bits.
//
// Compiled with the macros of spectral.h. Arguments: n c h w, padding at the end of each image line (elements), threads
// a block, the first block to run. Standard input: for int8 the Q pairs of factors, then the images (or spectrum, to merge)
// without padding; standard output: what the kernel wrote. Buffers have exactly the size that the kernel may touch, one element less with -DPLANTED.
// When the first block is not 0, only the sites from it on are read and written, and memory is reserved, not filled.

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

struct Three { unsigned x, y, z; };
static Three blockIdx, blockDim, gridDim, threadIdx;
#define __global__
#define __launch_bounds__(threads)
#define __grid_constant__
#include "spectral.h"

#if SPECTRAL_STORED == 3
#define STEPS , steps
#else
#define STEPS
#endif

#ifdef PLANTED
constexpr long long MISSING = 1;
#else
constexpr long long MISSING = 0;
#endif

template <class T>
static T* memory(long long count, bool sparse) {
    if (!sparse) return static_cast<T*>(std::malloc(count * sizeof(T)));
    return static_cast<T*>(mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

int main(int, char** arguments) {
    long long number[7];
    for (int i = 0; i < 7; ++i) number[i] = std::atoll(arguments[i + 1]);
    const auto [n, c, h, w, padding, threads, first] = number;
    const long long Q = SPECTRAL_Q1 * SPECTRAL_Q2, sites = n * h * w, begin = first * threads;
    const long long H = h * SPECTRAL_Q1, W = w * SPECTRAL_Q2, stride_h = W * c + padding, stride_n = H * stride_h;
    const long long pixels = n * stride_n - padding, coefficients = Q * n * c * h * w, row = begin / (h * w);

    auto* images = memory<SpectralPixel>(pixels, first > 0);
    auto* spectrum = memory<SpectralStored>(coefficients - MISSING, first > 0);
    const auto lines = [&](auto each) {
        for (long long y = row * H; y < n * H; ++y) each(images + y * stride_h);
    };
    const auto pieces = [&](auto each) {
        for (long long k = 0; k < Q; ++k) each(spectrum + k * n * c * h * w + row * c * h * w, (n - row) * c * h * w);
    };
    const auto get = [](auto* to, long long count) {
        if (std::fread(to, sizeof *to, count, stdin) != static_cast<size_t>(count)) std::exit(3);
    };
    const auto put = [](const auto* from, long long count) { std::fwrite(from, sizeof *from, count, stdout); };
#if SPECTRAL_STORED == 3
    SpectralSteps steps;
    get(&steps, 1);
#endif

#ifdef SPECTRAL_MERGE
    pieces(get);
#else
    lines([&](SpectralPixel* to) { get(to, W * c); });
#endif
    blockDim = {static_cast<unsigned>(threads), 1, 1};
    gridDim = {static_cast<unsigned>((sites + threads - 1) / threads), 1, 1};
    for (blockIdx.x = first; blockIdx.x < gridDim.x; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x)
#ifdef SPECTRAL_MERGE
            spectral_merge(spectrum, images, n, c, h, w, stride_n, stride_h, c, 1 STEPS);
    lines([&](SpectralPixel* from) { put(from, W * c); });
#else
            spectral_split(images, spectrum, n, c, h, w, stride_n, stride_h, c, 1 STEPS);
    pieces(put);
#endif
    if (first == 0) {
        std::free(images);
        std::free(spectrum);
    }
}
