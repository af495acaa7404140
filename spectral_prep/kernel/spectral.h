// The spectral transform of one site, for CUDA (NVRTC, nvcc) and C++ compilers alike: no #include, no library.
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
//
// ORDER OF OPERATIONS, the same in every build: a DCT of even length m folds x into sums and differences
// (x[n] ± x[m−1−n]); the differences give the odd coefficients, each a chain of multiply-adds over n = 0, 1, …;
// the sums are a DCT of length m/2 for the even ones. An odd length is folded once. About L²/3 multiply-adds.

#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define SPECTRAL_DEVICE __device__ __forceinline__
#define SPECTRAL_CONSTANT __device__ const
#define SPECTRAL_ANYWHERE __host__ __device__
#define SPECTRAL_UNROLL(count) SPECTRAL_PRAGMA(unroll(count))
#define SPECTRAL_PRAGMA(text) _Pragma(#text)
#else
#define SPECTRAL_DEVICE inline __attribute__((always_inline))
#define SPECTRAL_CONSTANT const
#define SPECTRAL_ANYWHERE
#define SPECTRAL_UNROLL(count)
#endif

namespace spectral {

enum Layout { BLOCKS = 0, TILES = 1 };
enum Transform { DCT = 0, DCT2 = 1, NONE = 2 };

[[maybe_unused]] constexpr int UNROLLED = 64;  // longest DCT, and largest grid, that is unrolled into registers
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
[[maybe_unused]] constexpr int CHAINS = 4;     // coefficients computed side by side; a thread has no registers for more
#else
[[maybe_unused]] constexpr int CHAINS = 8;
#endif
[[maybe_unused]] constexpr int PIECE = UNROLLED / 2;  // terms of a rolled sum that are added one to another

struct Half { unsigned short bits; };   // IEEE binary16
struct Brain { unsigned short bits; };  // bfloat16

// ---- cosines, in double at compile time, rounded once to float ------------------------------------------------------

SPECTRAL_ANYWHERE constexpr double square_root(double x) {
    double root = x < 1 ? 1 : x;
    for (int i = 0; i < 40; ++i) root = 0.5 * (root + x / root);
    return root;
}

// cos(π·m / (2·length)) for any m ≥ 0: exact reduction to an eighth of a turn, then Taylor.
SPECTRAL_ANYWHERE constexpr double cosine(int m, int length) {
    m %= 4 * length;
    if (m > 2 * length) m = 4 * length - m;
    const bool negative = m > length;
    if (negative) m = 2 * length - m;
    const bool sine = 2 * m > length;
    const double angle = 1.5707963267948966192313 * (sine ? length - m : m) / length;
    double term = sine ? angle : 1, sum = term;
    for (int i = sine ? 2 : 1; i < 24; i += 2) {
        term *= -angle * angle / (i * (i + 1));
        sum += term;
    }
    return negative ? -sum : sum;
}

// at[m] = √(2/length)·cos(π·m / (2·length)) serves every level of the recursion; mean = √(1/length) is coefficient 0.
template <int longest>
struct Cosines {
    float at[4 * longest];
    float mean;
    SPECTRAL_ANYWHERE constexpr explicit Cosines(int length) : at(), mean(static_cast<float>(square_root(1.0 / length))) {
        const double scale = square_root(2.0 / length);
        for (int m = 0; m < 4 * length; ++m) at[m] = static_cast<float>(scale * cosine(m, length));
    }
};

template <int length>
struct Unrolled {
    static constexpr Cosines<length> cosines{length};
    template <int m>
    struct At { static constexpr float value = cosines.at[m % (4 * length)]; };
    static constexpr float mean = cosines.mean;
};

template <int length>
SPECTRAL_CONSTANT Cosines<length> rolled_cosines{length};

// ---- arithmetic: V is float, or a struct of lanes with + − and its own multiply_add(V, float, V), multiply(V, float) --

SPECTRAL_DEVICE float multiply_add(float a, float b, float c) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
    return __fmaf_rn(a, b, c);
#else
    return __builtin_fmaf(a, b, c);
#endif
}
SPECTRAL_DEVICE float multiply(float a, float b) { return a * b; }

template <int... n> struct Indices {};
template <int count, int... n> struct Count : Count<count - 1, count - 1, n...> {};
template <int... n> struct Count<0, n...> { using type = Indices<n...>; };
template <int count> using UpTo = typename Count<(count > 0 ? count : 0)>::type;

template <int length, int first, int advance, int factor, class V, int... place>
SPECTRAL_DEVICE void link(V* sums, V x, Indices<place...>) {
    ((sums[place] = multiply_add(x, Unrolled<length>::template At<factor * (first + place * advance)>::value, sums[place])),
     ...);
}
// Coefficients k = first + place·advance for every place: Σ over n of x[n·stride]·cosine((2n+1)·k), n in order. A few at
// a time, so that their chains overlap and share the loads of x.
template <int length, int first, int advance, int stride, class V, class Sink, int... place, int... n>
SPECTRAL_DEVICE void chains(const V* x, Sink& sink, Indices<place...> places, Indices<n...>) {
    V sums[] = {multiply(x[0], Unrolled<length>::template At<first + place * advance>::value)...};
    (link<length, first, advance, 2 * n + 3>(sums, x[(n + 1) * stride], places), ...);
    (sink(first + place * advance, sums[place]), ...);
}
template <int length, int first, int advance, int outputs, int inputs, int stride, class V, class Sink>
SPECTRAL_DEVICE void product(const V* x, Sink& sink) {
    constexpr int now = outputs < CHAINS ? outputs : CHAINS;
    if constexpr (now > 0) {
        chains<length, first, advance, stride>(x, sink, UpTo<now>{}, UpTo<inputs - 1>{});
        product<length, first + now * advance, advance, outputs - now, inputs, stride>(x, sink);
    }
}

// ---- DCT-II of x, unrolled; x is consumed. Sink(k, coefficient) takes each as soon as it is done ---------------------

template <int length, int m>
struct Forward {
    static constexpr int step = length / m, half = m / 2;

    template <class V, class Sink>
    static SPECTRAL_DEVICE void run(V* x, Sink& sink) {
        fold(x, UpTo<half>{});
        product<length, step, 2 * step, half, half, -1>(x + m - 1, sink);
        if constexpr (m % 2 == 0) {
            Forward<length, half>::run(x, sink);
        } else {
            product<length, 2 * step, 2 * step, half, half + 1, 1>(x, sink);
            V sum = x[0];
            total(sum, x, UpTo<half>{});
            sink(0, multiply(sum, Unrolled<length>::mean));
        }
    }
    template <class V, int... n>
    static SPECTRAL_DEVICE void fold(V* x, Indices<n...>) { (fold_pair(x[n], x[m - 1 - n]), ...); }
    template <class V>
    static SPECTRAL_DEVICE void fold_pair(V& near, V& far) {
        const V sum = near + far;
        far = near - far;
        near = sum;
    }
    template <class V, int... n>
    static SPECTRAL_DEVICE void total(V& sum, const V* x, Indices<n...>) { ((sum = sum + x[n + 1]), ...); }
};

// ---- its inverse: coefficients X[0 … length−1] to x, level by level from the shortest --------------------------------

template <class V>
struct Unfold {  // a sink: what the odd coefficients make of x[n] comes as number (2n+1)·step
    V* x;
    int m, step;
    SPECTRAL_DEVICE void operator()(int number, V difference) const {
        const int n = number / step / 2;
        x[m - 1 - n] = x[n] - difference;
        x[n] = x[n] + difference;
    }
};

template <int length, int m>
struct Inverse {
    static constexpr int step = length / m, half = m / 2;

    template <class V>
    static SPECTRAL_DEVICE void run(const V* X, V* x) {
        if constexpr (m % 2 == 0) Inverse<length, half>::run(X, x);
        else sums(X, x, UpTo<half + 1>{});
        Unfold<V> sink{x, m, step};
        product<length, step, 2 * step, half, half, 2 * step>(X + step, sink);
    }
    template <class V, int... n>
    static SPECTRAL_DEVICE void sums(const V* X, V* x, Indices<n...>) { ((x[n] = even<n>(X, UpTo<half>{})), ...); }
    template <int n, class V, int... k>
    static SPECTRAL_DEVICE V even(const V* X, Indices<k...>) {
        V sum = multiply(X[0], Unrolled<length>::mean);
        ((sum = multiply_add(X[step * (2 * k + 2)],
                             Unrolled<length>::template At<(2 * n + 1) * step * (2 * k + 2)>::value, sum)), ...);
        return sum;
    }
};

// ---- the same two, rolled: any length at run time, the same operations in the same order -----------------------------

// In pieces of PIECE terms, then the pieces summed: a chain of 128 would lose a bit too many. No unrolled chain is longer.
template <class V>
SPECTRAL_DEVICE V rolled_dot(const V* x, int stride, int count, int first, int advance, const float* at, int period) {
    V total{};
    for (int begin = 0, m = first; begin < count; begin += PIECE) {
        V sum = multiply(x[begin * stride], at[m]);
        for (int n = begin + 1; n < begin + PIECE && n < count; ++n) {
            m += m + advance < period ? advance : advance - period;
            sum = multiply_add(x[n * stride], at[m], sum);
        }
        m += m + advance < period ? advance : advance - period;
        total = begin ? total + sum : sum;
    }
    return total;
}

template <class V, class Sink>
SPECTRAL_DEVICE void forward_rolled(V* x, int length, const float* at, float mean, Sink& sink) {
    const int period = 4 * length;
    int m = length, step = 1;
    for (;; m /= 2, step *= 2) {
        for (int n = 0; n < m / 2; ++n) Forward<2, 2>::fold_pair(x[n], x[m - 1 - n]);
        for (int k = step; k < length; k += 2 * step)
            sink(k, rolled_dot(x + m - 1, -1, m / 2, k, 2 * k, at, period));
        if (m % 2) break;
    }
    for (int k = 2 * step; k < length; k += 2 * step) sink(k, rolled_dot(x, 1, m / 2 + 1, k, 2 * k, at, period));
    V sum = x[0];
    for (int n = 1; n <= m / 2; ++n) sum = sum + x[n];
    sink(0, multiply(sum, mean));
}

template <class V>
SPECTRAL_DEVICE void inverse_rolled(const V* X, V* x, int length, const float* at, float mean) {
    const int period = 4 * length;
    int m = length;
    while (m % 2 == 0) m /= 2;
    for (int n = 0; n <= m / 2; ++n) {
        const int step = length / m;
        x[n] = multiply(X[0], mean);
        for (int k = 1; k <= m / 2; ++k)
            x[n] = multiply_add(X[2 * k * step], at[(2 * n + 1) * (2 * k) * step % period], x[n]);
    }
    for (;; m *= 2) {
        const int step = length / m;
        for (int n = 0; n < m / 2; ++n) {
            const int first = (2 * n + 1) * step;
            const V difference = rolled_dot(X + step, 2 * step, m / 2, first, 2 * first, at, period);
            Unfold<V>{x, m, step}(first, difference);
        }
        if (m == length) break;
    }
}

// ---- the transform of one channel of one site ------------------------------------------------------------------------

template <class V>
struct Into {  // a sink: coefficient k goes to out[k·stride]
    V* out;
    int stride;
    SPECTRAL_DEVICE void operator()(int k, V value) const { out[k * stride] = value; }
};

template <class Sink>
struct Row {  // a sink: coefficient v of row u is coefficient u·Q2 + v
    Sink& sink;
    int first;
    template <class V>
    SPECTRAL_DEVICE void operator()(int k, V value) const { sink(first + k, value); }
};

template <int length, class V, class Sink>
SPECTRAL_DEVICE void forward(V* x, Sink& sink) {
    if constexpr (length <= UNROLLED) Forward<length, length>::run(x, sink);
    else forward_rolled(x, length, rolled_cosines<length>.at, rolled_cosines<length>.mean, sink);
}

template <int length, class V>
SPECTRAL_DEVICE void inverse(const V* X, V* x) {
    if constexpr (length <= UNROLLED) Inverse<length, length>::run(X, x);
    else inverse_rolled(X, x, length, rolled_cosines<length>.at, rolled_cosines<length>.mean);
}

template <int Q1, int Q2, int transform, class V, class Sink>
SPECTRAL_DEVICE void forward(V* x, Sink& sink) {
    constexpr int Q = Q1 * Q2;
    if constexpr (transform == DCT) {
        forward<Q>(x, sink);
    } else if constexpr (transform == DCT2) {
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q2 : 1)
        for (int j = 0; j < Q2; ++j) {
            V column[Q1];
            SPECTRAL_UNROLL(Q1 <= UNROLLED ? Q1 : 1)
            for (int i = 0; i < Q1; ++i) column[i] = x[i * Q2 + j];
            Into<V> back{x + j, Q2};
            forward<Q1>(column, back);
        }
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q1 : 1)
        for (int u = 0; u < Q1; ++u) {
            Row<Sink> row{sink, u * Q2};
            forward<Q2>(x + u * Q2, row);
        }
    } else {
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q : 1)
        for (int k = 0; k < Q; ++k) sink(k, x[k]);
    }
}

template <int Q1, int Q2, int transform, class V>
SPECTRAL_DEVICE void inverse(V* X, V* x) {  // X is consumed
    constexpr int Q = Q1 * Q2;
    if constexpr (transform == DCT) {
        inverse<Q>(X, x);
    } else if constexpr (transform == DCT2) {
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q1 : 1)
        for (int u = 0; u < Q1; ++u) inverse<Q2>(X + u * Q2, x + u * Q2);
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q2 : 1)
        for (int j = 0; j < Q2; ++j) {
            V column[Q1], pixels[Q1];
            SPECTRAL_UNROLL(Q1 <= UNROLLED ? Q1 : 1)
            for (int i = 0; i < Q1; ++i) column[i] = x[i * Q2 + j];
            inverse<Q1>(column, pixels);
            SPECTRAL_UNROLL(Q1 <= UNROLLED ? Q1 : 1)
            for (int i = 0; i < Q1; ++i) x[i * Q2 + j] = pixels[i];
        }
    } else {
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q : 1)
        for (int k = 0; k < Q; ++k) x[k] = X[k];
    }
}

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
