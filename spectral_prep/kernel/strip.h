// STRIP sites at a time between the images and lines: where the sites are, and the pixels' way there and back.
//
// A line holds one number of every site of the strip. uint8 pixels that touch in memory are loaded CHUNK bytes a site
// and turned, so that a line holds a word of every site: `Pieces` knows which byte of which word a pixel is. All other
// pixels have a line each.

#pragma once

#include "lanes.h"

namespace spectral {
namespace {

constexpr int STRIP = 64;
constexpr int VECTORS = STRIP / Lanes::count;
constexpr int WIDEST = 16;  // channels gathered at once

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
        for (int site = 0; site < count;) {  // a line of sites after another
            if (site == 0 || (y == 0 && grid.c > 1)) run[runs++] = {(row * grid.c * grid.h + y) * grid.w + x, 0};
            const int length = static_cast<int>(grid.w - x < count - site ? grid.w - x : count - site);
            const Index begin = row * grid.stride_n + y * down + x * right;
            for (int i = 0; i < length; ++i) cells[site + i] = begin + i * right;
            run[runs - 1].length += length;
            site += length;
            if (cells[site - 1] > highest) highest = cells[site - 1];
            x = 0;
            if (++y == grid.h) y = 0, ++row;
        }
        for (int site = count; site < STRIP; ++site) cells[site] = cells[0];  // lanes without a site compute, and are dropped
    }
    int vectors() const { return (count + Lanes::count - 1) / Lanes::count; }
};

// ---- pixels to lines and back ----------------------------------------------------------------------------------------

template <class Pixel> struct WordOf { using type = float; };
template <> struct WordOf<uint8_t> { using type = uint32_t; };
template <class Pixel> using Word = typename WordOf<Pixel>::type;

struct Place { int line, shift; };  // of one pixel in the words of its site

inline Lanes pixels(const uint32_t* lines, Place place) { return read_byte(lines + place.line * STRIP, place.shift); }
inline Lanes pixels(const float* lines, Place place) { return read(lines + place.line * STRIP); }

struct Pieces {  // of a cell: bytes that touch, each piece on lines of its own
    int group;   // channels read together
    bool rows;   // a piece is a row of the cell, otherwise a pixel
    int count, bytes, lines;

    Pieces(const Grid& grid, bool uint8) {
        group = uint8 && grid.stride_c == 1 && grid.c <= WIDEST ? static_cast<int>(grid.c) : 1;
        rows = uint8 && grid.layout == BLOCKS && grid.stride_w == group;
        count = rows ? grid.q1 : grid.q();
        bytes = rows ? grid.q2 * group : group;
        lines = (bytes + WORD - 1) / WORD;
    }
    Index offset(const Grid& grid, int piece) const {
        return rows ? piece * grid.down() : piece / grid.q2 * grid.down() + piece % grid.q2 * grid.right();
    }
    Place place(const Grid& grid, int q, int channel) const {
        const int byte = (rows ? q % grid.q2 * group : 0) + channel;
        return {(rows ? q / grid.q2 : q) * lines + byte / WORD, byte % WORD * 8};
    }
};

// The `bytes` bytes at from + cells[site] of every site, as words. Nothing is read from `end` on, where the images end.
void gather_bytes(const uint8_t* from, const uint8_t* end, const Strip& strip, int bytes, uint32_t* lines) {
    for (; bytes > 0; bytes -= CHUNK, from += CHUNK, lines += CHUNK / WORD * STRIP) {
        uint8_t copies[STRIP][CHUNK];
        Index places[STRIP];
        const bool inside = end - from - strip.highest >= CHUNK;
        for (int site = 0; !inside && site < STRIP; ++site) {
            const Index left = end - from - strip.cells[site];
            std::memcpy(copies[site], from + strip.cells[site], left < CHUNK ? left : CHUNK);
            places[site] = site * CHUNK;
        }
        for (int v = 0; v < strip.vectors(); ++v) {
            const Index* cells = (inside ? strip.cells : places) + v * Lanes::count;
            const Words words = turn(inside ? from : copies[0], cells);
            for (int d = 0; d < CHUNK / WORD; ++d)
                if (d * WORD < bytes)
                    std::memcpy(lines + d * STRIP + v * Lanes::count, &words.of[d], sizeof words.of[d]);
        }
    }
}

// From `channel` on, as many channels as a group has.
template <class Pixel>
void gather(const Pixel* images, const Grid& grid, const Strip& strip, const Pieces& pieces, Index channel,
            Word<Pixel>* lines) {
    for (int piece = 0; piece < pieces.count; ++piece, lines += pieces.lines * STRIP) {
        const Pixel* from = images + pieces.offset(grid, piece) + channel * grid.stride_c;
        if constexpr (sizeof(Pixel) == 1) {
            if (pieces.bytes > 1) {
                gather_bytes(from, images + grid.last() + 1, strip, pieces.bytes, lines);
                continue;
            }
        }
        for (int site = 0; site < STRIP; ++site) lines[site] = from[strip.cells[site]];
    }
}

template <class Pixel>
void scatter(Pixel* images, const Grid& grid, const Strip& strip, Index channel, const Pixel* lines) {
    for (int q = 0; q < grid.q(); ++q) {
        Pixel* to = images + q / grid.q2 * grid.down() + q % grid.q2 * grid.right() + channel * grid.stride_c;
        for (int site = 0; site < strip.count; ++site) to[strip.cells[site]] = lines[q * STRIP + site];
    }
}

}  // namespace
}  // namespace spectral
