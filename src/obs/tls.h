/*
 * tls.h - the server's side of TLS, by OpenSSL, for sockets that do not block.
 *
 * The rule that holds it together: OpenSSL is loaded when a certificate is
 * configured, and not before, for it takes more memory than all that rbd-csid
 * is otherwise.
 */
#ifndef OBS_TLS_H
#define OBS_TLS_H

#include "base/err.h"
#include "base/str.h"

#include <sys/types.h>

struct tls;    /* a certificate with its key */
struct ssl_st; /* OpenSSL's name of a connection */

/*
 * Loads the library, and tls.crt and tls.key of the directory, both in PEM, as
 * Kubernetes mounts a Secret of its type for TLS; the certificate may have its
 * chain behind it. NULL: FAILED_PRECONDITION without the library,
 * INVALID_ARGUMENT for files that are not what they should be or do not belong
 * together, or the errno's for those that cannot be read.
 */
struct tls *tls_new(const char *dir, struct err *err);
void tls_free(struct tls *tls);

/*
 * Loads the files again if they have changed. Those that are no good, as they
 * may be for a moment, are a warning, and what was loaded stays in use.
 */
void tls_refresh(struct tls *tls);

/*
 * A connection that somebody else has accepted: tls_close() leaves `fd` open.
 * NULL: there is no memory for it.
 */
struct ssl_st *tls_accept(struct tls *tls, int fd);
void tls_close(struct ssl_st *conn);

/*
 * As recv() and send(), with the handshake before them. Bytes, 0 at the end,
 * -EAGAIN: `wants` (IO_READ or IO_WRITE) tells what is waited for;
 * -EPROTONOSUPPORT: the peer speaks HTTP without TLS; -EPROTO: anything else.
 */
ssize_t tls_recv(struct ssl_st *conn, void *to, size_t len, int *wants);
ssize_t tls_send(struct ssl_st *conn, const void *from, size_t len, int *wants);

/* Are there bytes for tls_recv() of which the socket knows no more? */
bool tls_has_more(const struct ssl_st *conn);

#endif
