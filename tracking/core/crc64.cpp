// Eight bytes at a time: the table for place k holds what a byte there leaves behind k more bytes
// (slicing-by-8, Kounavis and Berry, doi:10.1109/TC.2008.85).
#include "crc64.hpp"

#include <array>

namespace gammanav {
namespace {

constexpr int slices = 8;
using Tables = std::array<std::array<std::uint64_t, 256>, slices>;

constexpr Tables make_tables() {
    Tables t{};
    for (std::uint64_t byte = 0; byte < 256; ++byte) {
        std::uint64_t value = byte << 56;
        for (int bit = 0; bit < 8; ++bit) value = (value << 1) ^ (value >> 63 ? crc64_polynomial : 0);
        t[0][byte] = value;
    }
    for (int k = 1; k < slices; ++k)
        for (int byte = 0; byte < 256; ++byte) {
            const std::uint64_t before = t[k - 1][byte];
            t[k][byte] = (before << 8) ^ t[0][before >> 56];
        }
    return t;
}

constexpr Tables tables = make_tables();

}  // namespace

std::uint64_t crc64(const unsigned char* data, std::size_t size) noexcept {
    std::uint64_t crc = 0;
    for (; size >= slices; data += slices, size -= slices) {
        std::uint64_t next = 0;
        for (int k = 0; k < slices; ++k)
            next ^= tables[slices - 1 - k][static_cast<unsigned char>(crc >> (56 - 8 * k)) ^ data[k]];
        crc = next;
    }
    for (; size > 0; ++data, --size) crc = (crc << 8) ^ tables[0][(crc >> 56) ^ *data];
    return crc;
}

}  // namespace gammanav
