// The CPU kernel: split and merge over a range of sites, as a plain C library that `cpu.py` loads.
//
// A strip of STRIP sites at a time, everything between input and output in the L1 cache:
//   1. gather the pixels of the strip into lines, line q holding pixel q of every site (every input byte is read once);
//   2. transform them, Lanes::count sites in a register, by the functions of `spectral.h`;
//   3. encode and store each spectral's line (every output byte is written once).
// merge runs the same three backwards. Compiled once for each instruction set (see setup.py), with equal results.

#include <cstdlib>

#include "lanes.h"

namespace spectral {
namespace {

constexpr int MAX_Q = 256;
constexpr int STRIP = 64;
constexpr int VECTORS = STRIP / Lanes::count;
constexpr int WIDEST = 16;    // channels gathered at once
constexpr int SQUARE = 16;    // bytes and sites of a byte transposition
constexpr int NARROWEST = 5;  // bytes a site from which transposing pays

// ---- transforms of any length: unrolled where common, rolled otherwise ----------------------------------------------

// x is consumed; result k goes to out[k·stride]. `at` and `mean` are the rolled form's cosines.
using Line = void (*)(Lanes* x, Lanes* out, int stride, int length, const float* at, float mean);

template <int length>
void unrolled_forward(Lanes* x, Lanes* out, int stride, int, const float*, float) {
    Into<Lanes> sink{out, stride};
    Forward<length, length>::run(x, sink);
}
void any_forward(Lanes* x, Lanes* out, int stride, int length, const float* at, float mean) {
    Into<Lanes> sink{out, stride};
    forward_rolled(x, length, at, mean, sink);
}
template <int length>
void unrolled_inverse(Lanes* X, Lanes* out, int stride, int, const float*, float) {
    Lanes x[length];
    Inverse<length, length>::run(X, x);
    for (int n = 0; n < length; ++n) out[n * stride] = x[n];
}
void any_inverse(Lanes* X, Lanes* out, int stride, int length, const float* at, float mean) {
    Lanes x[MAX_Q];
    inverse_rolled(X, x, length, at, mean);
    for (int n = 0; n < length; ++n) out[n * stride] = x[n];
}

#define LENGTHS(each) \
    each(1) each(2) each(3) each(4) each(5) each(6) each(7) each(8) each(9) each(10) each(12) each(14) each(16) \
    each(25) each(28) each(32) each(36) each(49) each(64)

Line forward_line(int length) {
    switch (length) {
#define FORWARD(length) case length: return unrolled_forward<length>;
        LENGTHS(FORWARD)
#undef FORWARD
        default: return any_forward;
    }
}
Line inverse_line(int length) {
    switch (length) {
#define INVERSE(length) case length: return unrolled_inverse<length>;
        LENGTHS(INVERSE)
#undef INVERSE
        default: return any_inverse;
    }
}

// The cosines of one length, computed on first use and kept; null when memory is short.
const Cosines<MAX_Q>* cosines_of(int length) {
    static const Cosines<MAX_Q>* known[MAX_Q + 1];
    const Cosines<MAX_Q>* found = __atomic_load_n(&known[length], __ATOMIC_ACQUIRE);
    if (found) return found;
    auto* fresh = static_cast<Cosines<MAX_Q>*>(std::malloc(sizeof(Cosines<MAX_Q>)));
    if (!fresh) return nullptr;
    *fresh = Cosines<MAX_Q>{length};
    if (__atomic_compare_exchange_n(&known[length], &found, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return fresh;
    std::free(fresh);
    return found;
}

struct Direction {  // one of the two lines, with the cosines of its length
    Line line;
    int length;
    const Cosines<MAX_Q>* cosines;
    void operator()(Lanes* x, Lanes* out, int stride) const {
        line(x, out, stride, length, cosines->at, cosines->mean);
    }
};

struct Plan {  // Q values of Lanes::count sites from x to out[k·stride]; x is consumed
    int q1, q2, transform;
    bool inverse;
    Direction whole, down, right;

    bool prepare() { return find(whole, q1 * q2) && find(down, q1) && find(right, q2); }
    void run(Lanes* x, Lanes* out, int stride) const {
        if (transform == DCT) {
            whole(x, out, stride);
        } else if (transform == NONE) {
            for (int k = 0; k < q1 * q2; ++k) out[k * stride] = x[k];
        } else if (!inverse) {
            columns(x, x, 1);
            for (int u = 0; u < q1; ++u) right(x + u * q2, out + u * q2 * stride, stride);
        } else {
            Lanes rows[MAX_Q];
            for (int u = 0; u < q1; ++u) right(x + u * q2, rows + u * q2, 1);
            columns(rows, out, stride);
        }
    }

private:
    bool find(Direction& direction, int length) const {
        direction = {inverse ? inverse_line(length) : forward_line(length), length, cosines_of(length)};
        return direction.cosines;
    }
    void columns(const Lanes* x, Lanes* out, int stride) const {
        for (int j = 0; j < q2; ++j) {
            Lanes column[MAX_Q];
            for (int i = 0; i < q1; ++i) column[i] = x[i * q2 + j];
            down(column, out + j * stride, q2 * stride);
        }
    }
};

// ---- strips ----------------------------------------------------------------------------------------------------------

struct Run { Index offset; int length; };  // sites that follow one another in the spectrum, and where the first one is

struct Grid : Shape {
    Index spectral;  // from one spectral to the next, in elements of the spectrum
    int q1, q2, layout;
    int q() const { return q1 * q2; }
    Index down() const { return layout == BLOCKS ? stride_h : h * stride_h; }
    Index right() const { return layout == BLOCKS ? stride_w : w * stride_w; }
    Index last() const {  // offset of the last pixel
        return (n - 1) * stride_n + (h * q1 - 1) * stride_h + (w * q2 - 1) * stride_w + (c - 1) * stride_c;
    }
};

struct Strip {
    int count;            // sites
    Index cells[STRIP];   // where the cell of each site begins in the images
    Index highest;        // the largest of them
    int runs;
    Run run[STRIP];

    void place(const Grid& grid, Index first, Index stop) {
        count = static_cast<int>(stop - first < STRIP ? stop - first : STRIP);
        const Index down = grid.layout == BLOCKS ? grid.q1 * grid.stride_h : grid.stride_h;
        const Index right = grid.layout == BLOCKS ? grid.q2 * grid.stride_w : grid.stride_w;
        Index row, y, x;
        grid.locate(first, row, y, x);
        runs = 0;
        highest = 0;
        for (int site = 0; site < count; ++site) {
            if (site == 0 || (x == 0 && y == 0 && grid.c > 1))
                run[runs++] = {(row * grid.c * grid.h + y) * grid.w + x, 0};
            ++run[runs - 1].length;
            cells[site] = row * grid.stride_n + y * down + x * right;
            if (cells[site] > highest) highest = cells[site];
            if (++x == grid.w) {
                x = 0;
                if (++y == grid.h) y = 0, ++row;
            }
        }
    }
    int vectors() const { return (count + Lanes::count - 1) / Lanes::count; }
};

// ---- pixels to lines -------------------------------------------------------------------------------------------------

typedef uint8_t Bytes __attribute__((vector_size(SQUARE)));

#ifdef __clang__
Bytes interleave_low(Bytes a, Bytes b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
Bytes interleave_high(Bytes a, Bytes b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#else
Bytes interleave_low(Bytes a, Bytes b) {
    return __builtin_shuffle(a, b, Bytes{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23});
}
Bytes interleave_high(Bytes a, Bytes b) {
    return __builtin_shuffle(a, b, Bytes{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31});
}
#endif

// The `width` bytes at from + cells[site] of every site, transposed: byte b of all sites to lines + b·STRIP. `end` is
// where the images end: nothing is read from there on. Up to SQUARE lines are written, where width is less.
void transpose(const uint8_t* from, const uint8_t* end, const Strip& strip, int width, uint8_t* lines) {
    for (int done = 0; done < width; done += SQUARE) {
        const int first = width < SQUARE ? 0 : done + SQUARE <= width ? done : width - SQUARE;
        const int used = width < SQUARE ? width : SQUARE;
        for (int site = 0; site < strip.count; site += SQUARE) {
            Bytes square[SQUARE] = {}, other[SQUARE];
            const int sites = strip.count - site < SQUARE ? strip.count - site : SQUARE;
            const Index* cells = strip.cells + site;
            if (sites == SQUARE && end - from - first - strip.highest >= SQUARE) {
                for (int s = 0; s < SQUARE; ++s) std::memcpy(&square[s], from + cells[s] + first, SQUARE);
            } else {
                for (int s = 0; s < sites; ++s) {
                    const uint8_t* bytes = from + cells[s] + first;
                    std::memcpy(&square[s], bytes, end - bytes >= SQUARE ? SQUARE : used);
                }
            }
            for (int round = 0; round < 2; ++round) {
                for (int s = 0; s < SQUARE / 2; ++s) {
                    other[2 * s] = interleave_low(square[s], square[s + SQUARE / 2]);
                    other[2 * s + 1] = interleave_high(square[s], square[s + SQUARE / 2]);
                }
                for (int s = 0; s < SQUARE / 2; ++s) {
                    square[2 * s] = interleave_low(other[s], other[s + SQUARE / 2]);
                    square[2 * s + 1] = interleave_high(other[s], other[s + SQUARE / 2]);
                }
            }
            for (int b = 0; b < SQUARE; ++b) std::memcpy(lines + (first + b) * STRIP + site, &square[b], SQUARE);
        }
    }
}

template <class Pixel>
void pick(const Pixel* from, const Strip& strip, Pixel* line) {
    for (int site = 0; site < strip.count; ++site) line[site] = from[strip.cells[site]];
}

// Lines of `group` channels from `channel` on, pixel q of channel c at line q·group + c; unused lanes keep what they had.
template <class Pixel>
void gather(const Pixel* images, const Grid& grid, const Strip& strip, Index channel, int group, Pixel* lines) {
    const bool touching = grid.layout == BLOCKS && grid.stride_w == group;
    const int width = touching ? grid.q2 * group : group;
    for (int i = 0; i < grid.q1; ++i) {
        for (int j = 0; j < (touching ? 1 : grid.q2); ++j) {
            const Pixel* from = images + i * grid.down() + j * grid.right() + channel * grid.stride_c;
            Pixel* to = lines + (i * grid.q2 + j) * group * STRIP;
            if constexpr (sizeof(Pixel) == 1) {
                if (width >= NARROWEST && (group == 1 ? touching : grid.stride_c == 1)) {
                    transpose(from, images + grid.last() + 1, strip, width, to);
                    continue;
                }
            }
            for (int b = 0; b < width; ++b)
                pick(from + b / group * grid.right() + b % group * grid.stride_c, strip, to + b * STRIP);
        }
    }
}

template <class Pixel>
void scatter(Pixel* images, const Grid& grid, const Strip& strip, Index channel, const Pixel* lines) {
    for (int q = 0; q < grid.q(); ++q) {
        Pixel* to = images + q / grid.q2 * grid.down() + q % grid.q2 * grid.right() + channel * grid.stride_c;
        for (int site = 0; site < strip.count; ++site) to[strip.cells[site]] = lines[q * STRIP + site];
    }
}

// ---- lines to spectrals and back -------------------------------------------------------------------------------------

template <class Stored>
void encode(const Lanes* coefficients, const Strip& strip, float multiplier, float shift, Stored* out) {
    alignas(64) Stored scratch[STRIP];
    const bool whole = strip.runs == 1 && strip.count == STRIP;
    Stored* line = whole ? out + strip.run[0].offset : scratch;
    for (int v = 0; v < VECTORS; ++v) {  // always all: cheaper than to ask how many
        Lanes value = coefficients[v];
        if constexpr (packed<Stored>) {
            float shifts[Lanes::count];
            for (float& one : shifts) one = shift;
            value = multiply_add(value, multiplier, read(shifts));
        }
        write(line + v * Lanes::count, value);
    }
    if (whole) return;
    for (int r = 0; r < strip.runs; ++r) {
        std::memcpy(out + strip.run[r].offset, line, strip.run[r].length * sizeof(Stored));
        line += strip.run[r].length;
    }
}

template <class Stored>
void decode(const Stored* in, const Strip& strip, float scale, float offset, Lanes* coefficients) {
    alignas(64) Stored line[STRIP] = {};
    int filled = 0;
    for (int r = 0; r < strip.runs; filled += strip.run[r++].length)
        std::memcpy(line + filled, in + strip.run[r].offset, strip.run[r].length * sizeof(Stored));
    for (int v = 0; v < strip.vectors(); ++v) {
        Lanes value = read(line + v * Lanes::count);
        if constexpr (packed<Stored>) {
            float offsets[Lanes::count];
            for (float& one : offsets) one = offset;
            value = multiply_add(value, scale, read(offsets));
        }
        coefficients[v] = value;
    }
}

// ---- a range of sites ------------------------------------------------------------------------------------------------

template <class Pixel, class Stored>
bool split(const Pixel* images, Stored* spectrum, const float* multiplier, const float* shift, const Grid& grid,
           const Plan& plan, Index first, Index stop) {
    const int group = grid.stride_c == 1 && grid.c <= WIDEST ? static_cast<int>(grid.c) : 1;
    const int Q = grid.q();
    auto* lines = static_cast<Pixel*>(std::calloc((static_cast<size_t>(Q) * group + SQUARE) * STRIP, sizeof(Pixel)));
    auto* coefficients = static_cast<Lanes*>(std::aligned_alloc(64, sizeof(Lanes) * Q * VECTORS));
    const bool memory = lines && coefficients;
    for (Index site = first; memory && site < stop; site += STRIP) {
        Strip strip;
        strip.place(grid, site, stop);
        for (Index channel = 0; channel < grid.c; ++channel) {
            if (channel % group == 0) gather(images, grid, strip, channel, group, lines);
            for (int v = 0; v < strip.vectors(); ++v) {
                Lanes x[MAX_Q];
                const Pixel* line = lines + channel % group * STRIP + v * Lanes::count;
                for (int q = 0; q < Q; ++q) x[q] = read(line + q * group * STRIP);
                plan.run(x, coefficients + v, VECTORS);
            }
            Stored* out = spectrum + channel * grid.h * grid.w;
            for (int k = 0; k < Q; ++k)
                encode(coefficients + k * VECTORS, strip, packed<Stored> ? multiplier[k] : 1,
                       packed<Stored> ? shift[k] : 0, out + k * grid.spectral);
        }
    }
    std::free(coefficients);
    std::free(lines);
    return memory;
}

template <class Pixel, class Stored>
bool merge(const Stored* spectrum, Pixel* images, const float* scale, const float* offset, const Grid& grid,
           const Plan& plan, Index first, Index stop) {
    const int Q = grid.q();
    auto* lines = static_cast<Pixel*>(std::calloc(static_cast<size_t>(Q) * STRIP, sizeof(Pixel)));
    auto* coefficients = static_cast<Lanes*>(std::aligned_alloc(64, sizeof(Lanes) * Q * VECTORS));
    const bool memory = lines && coefficients;
    for (Index site = first; memory && site < stop; site += STRIP) {
        Strip strip;
        strip.place(grid, site, stop);
        for (Index channel = 0; channel < grid.c; ++channel) {
            const Stored* in = spectrum + channel * grid.h * grid.w;
            for (int k = 0; k < Q; ++k)
                decode(in + k * grid.spectral, strip, packed<Stored> ? scale[k] : 1, packed<Stored> ? offset[k] : 0,
                       coefficients + k * VECTORS);
            for (int v = 0; v < strip.vectors(); ++v) {
                Lanes X[MAX_Q], x[MAX_Q];
                for (int k = 0; k < Q; ++k) X[k] = coefficients[k * VECTORS + v];
                plan.run(X, x, 1);
                for (int q = 0; q < Q; ++q) write(lines + q * STRIP + v * Lanes::count, x[q]);
            }
            scatter(images, grid, strip, channel, lines);
        }
    }
    std::free(coefficients);
    std::free(lines);
    return memory;
}

// Call with the types that the two numbers of `spectral.h` name.
template <class Call>
bool typed(int pixel, int stored, Call call) {
    const auto with = [&](auto pixels) {
        switch (stored) {
            case 0: return call(pixels, float{});
            case 1: return call(pixels, Half{});
            case 2: return call(pixels, Brain{});
            default: return call(pixels, static_cast<signed char>(0));
        }
    };
    return pixel ? with(float{}) : with(uint8_t{});
}

Grid grid_of(const int* spec, const long long* shape) {
    return {{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6], shape[7]},
            shape[8], spec[0], spec[1], spec[2]};
}

}  // namespace
}  // namespace spectral

// spec: q1, q2, layout, transform, pixel, stored, the numbers of `spectral.h`. shape: n, c, h, w, the images' strides of
// N, H, W, C and the distance between spectrals, in elements; each (N, C, h, w) of the spectrum is contiguous. Sites
// first … stop−1 in (n, h, w) order are done. Returns 0, or 1 when memory is short.
extern "C" int spectral_cpu_split(const void* images, void* spectrum, const float* multiplier, const float* shift,
                                  const int* spec, const long long* shape, long long first, long long stop) {
    using namespace spectral;
    const Grid grid = grid_of(spec, shape);
    Plan plan{spec[0], spec[1], spec[3], false, {}, {}, {}};
    return !(plan.prepare() && typed(spec[4], spec[5], [&](auto pixel, auto stored) {
        return split(static_cast<const decltype(pixel)*>(images), static_cast<decltype(stored)*>(spectrum), multiplier,
                     shift, grid, plan, first, stop);
    }));
}

extern "C" int spectral_cpu_merge(const void* spectrum, void* images, const float* scale, const float* offset,
                                  const int* spec, const long long* shape, long long first, long long stop) {
    using namespace spectral;
    const Grid grid = grid_of(spec, shape);
    Plan plan{spec[0], spec[1], spec[3], true, {}, {}, {}};
    return !(plan.prepare() && typed(spec[4], spec[5], [&](auto pixel, auto stored) {
        return merge(static_cast<const decltype(stored)*>(spectrum), static_cast<decltype(pixel)*>(images), scale,
                     offset, grid, plan, first, stop);
    }));
}

// The instruction sets of this machine that a build exists for: 0 none beyond the baseline, 1 AVX2, 2 AVX-512.
extern "C" int spectral_cpu_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") ? 2 : 1;
#else
    return 0;
#endif
}
