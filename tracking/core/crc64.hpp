// CRC-64/ECMA-182 of OpenIGTLink bodies: most significant bit first, start 0, no final XOR.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gammanav {

// ECMA-182 (https://ecma-international.org/publications-and-standards/standards/ecma-182), annex B.
inline constexpr std::uint64_t crc64_polynomial = 0x42F0E1EBA9EA3693;

// By carry-less multiplication where the processor has it, else by tables.
std::uint64_t crc64(const unsigned char* data, std::size_t size) noexcept;
std::uint64_t crc64_portable(const unsigned char* data, std::size_t size) noexcept;

}  // namespace gammanav
