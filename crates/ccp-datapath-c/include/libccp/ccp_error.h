/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the functions of ccp.h return. The numbers are libccp's; those marked "never" are not returned by this library, and are here so
 * that a program that names them compiles.
 */
#ifndef CCP_ERROR_H
#define CCP_ERROR_H

#define LIBCCP_OK 0

#define LIBCCP_MISSING_ARG -11 /* ccp_init: a function, the table, a size or fto_us is missing */
#define LIBCCP_NULL_ARG -12

/* ccp_read_msg: the length of the message */
#define LIBCCP_BUFSIZE_NEGATIVE -21
#define LIBCCP_BUFSIZE_TOO_SMALL -22 /* the header claims another length than the content has */
#define LIBCCP_MSG_TOO_LONG -23

/* ccp_read_msg: the content */
#define LIBCCP_WRITE_INVALID_HEADER_TYPE -31 /* never */
#define LIBCCP_READ_INVALID_HEADER_TYPE -32
#define LIBCCP_READ_INVALID_OP -33
#define LIBCCP_READ_REG_NOT_ALLOWED -34     /* a program is refused for what it does */
#define LIBCCP_READ_INVALID_RETURN_REG -35  /* never: -34 */
#define LIBCCP_READ_INVALID_LEFT_REG -36    /* never: -34 */
#define LIBCCP_READ_INVALID_RIGHT_REG -37   /* never: -34 */
#define LIBCCP_INSTALL_TYPE_MISMATCH -41    /* never */
#define LIBCCP_INSTALL_TOO_MANY_EXPR -42
#define LIBCCP_INSTALL_TOO_MANY_INSTR -43
#define LIBCCP_UPDATE_TYPE_MISMATCH -51     /* never */
#define LIBCCP_UPDATE_TOO_MANY -52
#define LIBCCP_UPDATE_INVALID_REG_TYPE -53  /* a register that does not exist or may not be updated */
#define LIBCCP_CHANGE_TYPE_MISMATCH -61     /* never */
#define LIBCCP_CHANGE_TOO_MANY -62

#define LIBCCP_UNKNOWN_CONNECTION -71
#define LIBCCP_CREATE_PENDING -72             /* never */
#define LIBCCP_CONNECTION_NOT_INITIALIZED -73 /* never */

#define LIBCCP_PROG_TABLE_FULL -81 /* never: the program installed first makes room */
#define LIBCCP_PROG_NOT_FOUND -82

/* ccp_invoke: the program faulted, and this invocation had no effect */
#define LIBCCP_ADD_INT_OVERFLOW -91 /* a sum or a product beyond 64 bits */
#define LIBCCP_DIV_BY_ZERO -92
#define LIBCCP_MUL_INT_OVERFLOW -93 /* never: -91 */
#define LIBCCP_SUB_INT_UNDERFLOW -94

#define LIBCCP_PRIV_IS_NULL -95
#define LIBCCP_PROG_IS_NULL -96 /* ccp_invoke: no program yet, the flow runs natively */

#define LIBCCP_FALLBACK_TIMED_OUT -101 /* ccp_invoke: nobody steers, the flow runs natively */

#endif
