// The spectral transform of one site, for CUDA (NVRTC, nvcc) and C++ compilers alike: no library. Pixels, encoding and
// the entries are here, the transforms in `transform.h`.
//
// N rows, Q = Q1·Q2 spectrals, C channels, H W image size, h = H/Q1 and w = W/Q2 spectral size. A site is one (n, h, w):
// its Q pixels of each channel become its Q coefficients, in registers. `spectral_prep/spectrum.py` is the definition.
//
// LAUNCH INTERFACE (the entries at the end of the file; one thread a site, any one-dimensional grid of at most 256
// threads a block, no shared memory)
//   Macros that a compilation sets (without SPECTRAL_Q1 there is no entry, only the templates):
//     SPECTRAL_Q1, SPECTRAL_Q2   the grid, 1 ≤ Q1·Q2 ≤ 256
//     SPECTRAL_LAYOUT            0 blocks, 1 tiles
//     SPECTRAL_TRANSFORM         0 dct, 1 dct2, 2 none
//     SPECTRAL_PIXEL             0 uint8, 1 float32
//     SPECTRAL_STORED            0 float32, 1 float16, 2 bfloat16 (sm_80 and later), 3 int8
//     SPECTRAL_MERGE             defined: the entry is spectral_merge, otherwise spectral_split
//   Compile with --fmad=false (NVRTC) or -ffp-contract=off (g++): all devices then agree bit for bit.
//   extern "C" spectral_split(const Pixel* images, Stored* spectrum,
//       long long n, c, h, w, stride_n, stride_h, stride_w, stride_c [, struct { float multiplier, shift; }[Q]])
//   extern "C" spectral_merge(const Stored* spectrum, Pixel* images,
//       long long n, c, h, w, stride_n, stride_h, stride_w, stride_c [, struct { float scale, offset; }[Q]])
//     images: strides of N, H, W, C in elements. spectrum: (Q, N, C, h, w), contiguous. h and w are the spectral size.
//     The structs, by value in one parameter, are there for int8 only, where
//       stored = clamp(round_to_even(fmaf(coefficient, multiplier, shift)), ±127), coefficient = fmaf(stored, scale, offset)
//       with multiplier = float32(1 / scale_factor), shift = float32(−add_offset / scale_factor) of `encoding.py`:
//       one multiply-add where that file subtracts and divides, so a coefficient near a tie may differ by one step.
//   All sizes, strides and offsets are 64-bit: more than 2³¹ elements are fine.

#pragma once

#include "transform.h"

namespace spectral {

enum Layout { BLOCKS = 0, TILES = 1 };
struct Half { unsigned short bits; };   // IEEE binary16
struct Brain { unsigned short bits; };  // bfloat16

// ---- how a number is stored: round to nearest even everywhere; a NaN stays a NaN in the floating types ---------------

constexpr float ROUNDER = 12582912.0f;  // 1.5·2²³: adding it rounds |x| < 2²² to the nearest even integer, in the low bits

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
SPECTRAL_DEVICE unsigned bits_of(float value) { return __float_as_uint(value); }
SPECTRAL_DEVICE float float_of(unsigned bits) { return __uint_as_float(bits); }
#else
SPECTRAL_DEVICE unsigned bits_of(float value) { unsigned bits; __builtin_memcpy(&bits, &value, 4); return bits; }
SPECTRAL_DEVICE float float_of(unsigned bits) { float value; __builtin_memcpy(&value, &bits, 4); return value; }
#endif

SPECTRAL_DEVICE int rounded(float value, float lowest, float highest) {
    value = value < highest ? value : highest;
    value = value > lowest ? value : lowest;
    return static_cast<int>(bits_of(value + ROUNDER) - bits_of(ROUNDER));
}

SPECTRAL_DEVICE void store(float& out, float value) { out = value; }
SPECTRAL_DEVICE void store(unsigned char& out, float value) { out = static_cast<unsigned char>(rounded(value, 0, 255)); }
SPECTRAL_DEVICE void store(signed char& out, float value) { out = static_cast<signed char>(rounded(value, -127, 127)); }
SPECTRAL_DEVICE void store(Brain& out, float value) {
    const unsigned u = bits_of(value);
    out.bits = static_cast<unsigned short>((u & 0x7fffffff) > 0x7f800000 ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}
SPECTRAL_DEVICE void store(Half& out, float value) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(value));
#else
    const unsigned u = bits_of(value), a = u & 0x7fffffff;
    unsigned half = (a + 0xfff + (a >> 13 & 1) - (112u << 23)) >> 13;          // normal, or rounded up to infinity
    if (a < 0x38800000) half = bits_of(float_of(a) + 0.5f) - bits_of(0.5f);  // subnormal: 0.5 has its unit, 2⁻²⁴
    if (a >= 0x47800000) half = a > 0x7f800000 ? 0x7fff : 0x7c00;
    out.bits = static_cast<unsigned short>(half | (u >> 16 & 0x8000));
#endif
}

SPECTRAL_DEVICE float load(float stored) { return stored; }
SPECTRAL_DEVICE float load(unsigned char stored) { return stored; }
SPECTRAL_DEVICE float load(signed char stored) { return stored; }
SPECTRAL_DEVICE float load(Brain stored) { return float_of(static_cast<unsigned>(stored.bits) << 16); }
SPECTRAL_DEVICE float load(Half stored) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(stored.bits));
    return value;
#else
    const unsigned sign = (stored.bits & 0x8000u) << 16, rest = (stored.bits & 0x7fffu) << 13;
    const unsigned magnitude = rest >= 0x0f800000 ? rest | 0x7f800000 : bits_of(float_of(rest) * 0x1p112f);
    return float_of(sign | magnitude);
#endif
}

template <class Stored> constexpr bool packed = false;  // stored with a step and an offset a spectral
template <> constexpr bool packed<signed char> = true;

// ---- one site, looping over channels ---------------------------------------------------------------------------------

using Index = long long;

struct Shape {
    Index n, c, h, w, stride_n, stride_h, stride_w, stride_c;  // h, w: spectral size; strides of the images, in elements

    // Where pixel (0, 0) of a site is in the images, and how far the next ones down and right in its cell are.
    template <int Q1, int Q2, int layout>
    SPECTRAL_DEVICE void cell(Index row, Index y, Index x, Index& first, Index& down, Index& right) const {
        constexpr bool blocks = layout == BLOCKS;
        first = row * stride_n + y * (blocks ? Q1 * stride_h : stride_h) + x * (blocks ? Q2 * stride_w : stride_w);
        down = blocks ? stride_h : h * stride_h;
        right = blocks ? stride_w : w * stride_w;
    }
    SPECTRAL_DEVICE void locate(Index site, Index& row, Index& y, Index& x) const {
        if (((site | h | w) >> 32) == 0) {  // 64-bit divisions are slow where there is no instruction for them
            const unsigned line = static_cast<unsigned>(site) / static_cast<unsigned>(w);
            x = static_cast<unsigned>(site) % static_cast<unsigned>(w);
            y = line % static_cast<unsigned>(h);
            row = line / static_cast<unsigned>(h);
        } else {
            x = site % w;
            y = site / w % h;
            row = site / w / h;
        }
    }
};

// The same number, anew for every channel: a compiler that knew it to be the same would compute what follows from it for
// all Q before the loop over channels, and spill that.
SPECTRAL_DEVICE Index anew(Index value) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
    asm volatile("" : "+l"(value));
#endif
    return value;
}
// Zero: to be added to the address of factors. Before sm_100 the compiler knows that a factor is best an operand.
SPECTRAL_DEVICE Index zero_anew() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
    return anew(0);
#else
    return 0;
#endif
}

struct Step { float factor, term; };  // of one spectral, stored as int8

template <class Stored>
struct Encoder {  // a sink: coefficient k of one channel of one site, encoded, to its place in the spectrum
    Stored* out;
    Index stride;
    const Step* steps;
    SPECTRAL_DEVICE void operator()(int k, float value) const {
        if constexpr (packed<Stored>) value = multiply_add(value, steps[k].factor, steps[k].term);
        store(out[k * stride], value);
    }
};

template <int Q1, int Q2, int layout, int transform, class Pixel, class Stored>
SPECTRAL_DEVICE void split_site(Index site, const Pixel* __restrict__ images, Stored* __restrict__ spectrum,
                                const Step* steps, const Shape& s) {
    constexpr int Q = Q1 * Q2;
    Index row, y, x, first, down, right;
    s.locate(site, row, y, x);
    s.cell<Q1, Q2, layout>(row, y, x, first, down, right);
    Stored* out = spectrum + row * s.c * s.h * s.w + y * s.w + x;
    SPECTRAL_UNROLL(1)
    for (Index channel = 0; channel < s.c; ++channel, out += s.h * s.w) {
        const Pixel* cell = images + first + channel * s.stride_c;
        constexpr bool many = Q > UNROLLED / 2;  // fewer are faster kept, and registers suffice
        const Index below = many ? anew(down) : down, beside = many ? anew(right) : right, zero = zero_anew();
        const Index spectral = s.n * s.c * s.h * s.w;
        float values[Q];
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q : 1)
        for (int k = 0; k < Q; ++k) values[k] = load(cell[k / Q2 * below + k % Q2 * beside]);
        Encoder<Stored> sink{out, many ? anew(spectral) : spectral, steps + zero};
        forward<Q1, Q2, transform>(values, sink);
    }
}

template <int Q1, int Q2, int layout, int transform, class Pixel, class Stored>
SPECTRAL_DEVICE void merge_site(Index site, const Stored* __restrict__ spectrum, Pixel* __restrict__ images,
                                const Step* steps, const Shape& s) {
    constexpr int Q = Q1 * Q2;
    Index row, y, x, first, down, right;
    s.locate(site, row, y, x);
    s.cell<Q1, Q2, layout>(row, y, x, first, down, right);
    const Stored* in = spectrum + row * s.c * s.h * s.w + y * s.w + x;
    SPECTRAL_UNROLL(1)
    for (Index channel = 0; channel < s.c; ++channel, in += s.h * s.w) {
        Pixel* cell = images + anew(first + channel * s.stride_c);
        const Index below = anew(down), beside = anew(right), stride = anew(s.n * s.c * s.h * s.w), zero = zero_anew();
        float coefficients[Q], values[Q];
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q : 1)
        for (int k = 0; k < Q; ++k) {
            coefficients[k] = load(in[k * stride]);
            if constexpr (packed<Stored>) coefficients[k] = multiply_add(coefficients[k], steps[k + zero].factor, steps[k + zero].term);
        }
        inverse<Q1, Q2, transform>(coefficients, values);
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q : 1)
        for (int k = 0; k < Q; ++k) store(cell[k / Q2 * below + k % Q2 * beside], values[k]);
    }
}

template <int number> struct PixelType { using type = unsigned char; };
template <> struct PixelType<1> { using type = float; };
template <int number> struct StoredType { using type = float; };
template <> struct StoredType<1> { using type = Half; };
template <> struct StoredType<2> { using type = Brain; };
template <> struct StoredType<3> { using type = signed char; };

}  // namespace spectral

#ifdef SPECTRAL_Q1

using SpectralPixel = spectral::PixelType<SPECTRAL_PIXEL>::type;
using SpectralStored = spectral::StoredType<SPECTRAL_STORED>::type;

#ifdef SPECTRAL_MERGE
#define SPECTRAL_ENTRY spectral_merge(const SpectralStored* from, SpectralPixel* to,
#define SPECTRAL_SITE spectral::merge_site
#else
#define SPECTRAL_ENTRY spectral_split(const SpectralPixel* from, SpectralStored* to,
#define SPECTRAL_SITE spectral::split_site
#endif

// By value, so that every factor is an operand from the constant bank: loaded through a pointer, all of them would be
// kept in registers from one channel to the next, and those of Q = 64 do not fit beside the values.
struct SpectralSteps { spectral::Step of[SPECTRAL_Q1 * SPECTRAL_Q2]; };
#if SPECTRAL_STORED == 3
#define SPECTRAL_PARAMETER , const __grid_constant__ SpectralSteps steps
#define SPECTRAL_STEPS steps.of
#else
#define SPECTRAL_PARAMETER
#define SPECTRAL_STEPS nullptr
#endif

extern "C" __global__ void __launch_bounds__(256)
SPECTRAL_ENTRY long long n, long long c, long long h, long long w, long long stride_n, long long stride_h,
               long long stride_w, long long stride_c SPECTRAL_PARAMETER) {
    const spectral::Shape shape{n, c, h, w, stride_n, stride_h, stride_w, stride_c};
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long site = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; site < n * h * w; site += step)
        SPECTRAL_SITE<SPECTRAL_Q1, SPECTRAL_Q2, SPECTRAL_LAYOUT, SPECTRAL_TRANSFORM>(site, from, to, SPECTRAL_STEPS, shape);
}

#endif
