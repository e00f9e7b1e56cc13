/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The integer types that libccp's interface names. */
#ifndef CCP_TYPES_H
#define CCP_TYPES_H

#include <stdint.h>

#include "ccp_error.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#endif
