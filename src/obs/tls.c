/*
 * tls.c - OpenSSL's functions by name, a context of certificate and key, and
 * connections.
 */
#include "obs/tls.h"

#include "base/log.h"
#include "core/io.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#define TEXT(x) #x
#define LIBRARY_OF(version) "libssl.so." TEXT(version)
#define LIBRARY LIBRARY_OF(OPENSSL_SHLIB_VERSION)

/* All that is called, those of libcrypto at the end. */
#define FUNCTIONS(X)                                                           \
	X(TLS_server_method)                                                   \
	X(SSL_CTX_new)                                                         \
	X(SSL_CTX_free)                                                        \
	X(SSL_CTX_ctrl)                                                        \
	X(SSL_CTX_set_options)                                                 \
	X(SSL_CTX_set_num_tickets)                                             \
	X(SSL_CTX_set_default_passwd_cb)                                       \
	X(SSL_CTX_use_certificate_chain_file)                                  \
	X(SSL_CTX_use_PrivateKey_file)                                         \
	X(SSL_CTX_check_private_key)                                           \
	X(SSL_new)                                                             \
	X(SSL_free)                                                            \
	X(SSL_set_fd)                                                          \
	X(SSL_set_accept_state)                                                \
	X(SSL_read)                                                            \
	X(SSL_write)                                                           \
	X(SSL_pending)                                                         \
	X(SSL_get_error)                                                       \
	X(SSL_shutdown)                                                        \
	X(ERR_clear_error)                                                     \
	X(ERR_peek_error)                                                      \
	X(ERR_reason_error_string)

#define MEMBER(name) __typeof__(&name) name;
static struct {
	void *library; /* NULL: not loaded yet; stays as long as the process */
	FUNCTIONS(MEMBER)
} lib;

struct tls {
	char *file[2]; /* the certificate, its key */
	struct stat loaded[2];
	SSL_CTX *ctx;
	struct err broken; /* as last told of files that are no good */
};

/* ---- the library --------------------------------------------------------- */

static int
tls_load_library(struct err *err)
{
	bool whole = true;

	if (lib.library != NULL)
		return 0;
	lib.library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (lib.library == NULL)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "TLS needs OpenSSL's library: %s", dlerror());
#define LOOK_UP(name)                                                          \
	*(void **)&lib.name = dlsym(lib.library, #name);                       \
	whole = whole && lib.name != NULL;
	FUNCTIONS(LOOK_UP)
	if (whole)
		return 0;
	(void)dlclose(lib.library);
	lib.library = NULL;
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "TLS needs another version of " LIBRARY);
}

/* ---- certificate and key ------------------------------------------------- */

/* Nobody is there to be asked for the passphrase of a key. */
static int
no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static int
refuse_file(const char *file, const char *what, struct err *err)
{
	const char *why = lib.ERR_reason_error_string(lib.ERR_peek_error());

	return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s%s%s", file, what,
	    why != NULL ? ": " : "", why != NULL ? why : "");
}

static int
read_file(const char *file, struct stat *st, struct err *err)
{
	auto_close int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, st) < 0)
		return err_set_rc(err, -errno, "open %s", file);
	if (!S_ISREG(st->st_mode))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "%s: is no file", file);
	return 0;
}

static SSL_CTX *
ctx_new(const struct tls *tls, struct err *err)
{
	SSL_CTX *ctx;
	int rc = 0;

	lib.ERR_clear_error();
	ctx = lib.SSL_CTX_new(lib.TLS_server_method());
	if (ctx == NULL) {
		(void)refuse_file(LIBRARY, "cannot be used", err);
		return NULL;
	}
	(void)lib.SSL_CTX_ctrl(
	    ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
	/* A connection is one request: nothing is worth to be resumed. */
	(void)lib.SSL_CTX_ctrl(
	    ctx, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, NULL);
	(void)lib.SSL_CTX_ctrl(ctx, SSL_CTRL_MODE,
	    SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS,
	    NULL);
	(void)lib.SSL_CTX_set_options(ctx,
	    SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
		SSL_OP_CIPHER_SERVER_PREFERENCE);
	(void)lib.SSL_CTX_set_num_tickets(ctx, 0);
	lib.SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (lib.SSL_CTX_use_certificate_chain_file(ctx, tls->file[0]) != 1)
		rc = refuse_file(tls->file[0], "is no certificate in PEM", err);
	else if (lib.SSL_CTX_use_PrivateKey_file(
		     ctx, tls->file[1], SSL_FILETYPE_PEM) != 1)
		rc = refuse_file(tls->file[1],
		    "is no key in PEM, without a passphrase, of the certificate",
		    err);
	else if (lib.SSL_CTX_check_private_key(ctx) != 1)
		rc = refuse_file(
		    tls->file[1], "is not the key of the certificate", err);
	if (rc == 0)
		return ctx;
	lib.SSL_CTX_free(ctx);
	return NULL;
}

/* Connections that are open keep what they began with. */
static int
tls_load(struct tls *tls, struct err *err)
{
	struct stat now[2];
	SSL_CTX *ctx;

	for (size_t i = 0; i < countof(now); i++)
		if (read_file(tls->file[i], &now[i], err) < 0)
			return err->rc;
	ctx = ctx_new(tls, err);
	if (ctx == NULL)
		return err->rc;
	if (tls->ctx != NULL)
		lib.SSL_CTX_free(tls->ctx);
	tls->ctx = ctx;
	memcpy(tls->loaded, now, sizeof(now));
	return 0;
}

struct tls *
tls_new(const char *dir, struct err *err)
{
	struct tls *tls;

	if (tls_load_library(err) < 0)
		return NULL;
	tls = mem_new(sizeof(*tls));
	tls->file[0] = str_fmt("%s/tls.crt", dir);
	tls->file[1] = str_fmt("%s/tls.key", dir);
	if (tls_load(tls, err) == 0)
		return tls;
	tls_free(tls);
	return NULL;
}

void
tls_free(struct tls *tls)
{
	if (tls == NULL)
		return;
	if (tls->ctx != NULL)
		lib.SSL_CTX_free(tls->ctx);
	for (size_t i = 0; i < countof(tls->file); i++)
		free(tls->file[i]);
	free(tls);
}

static bool
is_as_loaded(const struct tls *tls)
{
	struct stat now;

	for (size_t i = 0; i < countof(tls->file); i++) {
		const struct stat *was = &tls->loaded[i];

		if (stat(tls->file[i], &now) < 0 || now.st_dev != was->st_dev ||
		    now.st_ino != was->st_ino || now.st_size != was->st_size ||
		    now.st_ctim.tv_sec != was->st_ctim.tv_sec ||
		    now.st_ctim.tv_nsec != was->st_ctim.tv_nsec)
			return false;
	}
	return true;
}

void
tls_refresh(struct tls *tls)
{
	struct err err = ERR_INIT;
	char quoted[ERR_TEXT_MAX + 8];

	if (is_as_loaded(tls))
		return;
	if (tls_load(tls, &err) == 0)
		log_info("metrics.certificate", "file=%s", tls->file[0]);
	else if (!str_eq(err.text, tls->broken.text))
		log_warn("metrics.certificate", "file=%s text=%s", tls->file[0],
		    log_quote(quoted, sizeof(quoted), err.text));
	tls->broken = err;
}

/* ---- connections --------------------------------------------------------- */

struct ssl_st *
tls_accept(struct tls *tls, int fd)
{
	SSL *conn = lib.SSL_new(tls->ctx);

	if (conn == NULL)
		return NULL;
	if (lib.SSL_set_fd(conn, fd) != 1) {
		lib.SSL_free(conn);
		return NULL;
	}
	lib.SSL_set_accept_state(conn);
	return conn;
}

void
tls_close(struct ssl_st *conn)
{
	lib.ERR_clear_error();
	(void)lib.SSL_shutdown(conn);
	lib.SSL_free(conn);
}

/* What a call that returned `n` means. */
static ssize_t
result(const SSL *conn, int n, int *wants)
{
	switch (lib.SSL_get_error(conn, n)) {
	case SSL_ERROR_NONE:
		return n;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_WANT_READ:
		*wants = IO_READ;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		*wants = IO_WRITE;
		return -EAGAIN;
	default:
		return ERR_GET_REASON(lib.ERR_peek_error()) ==
			SSL_R_HTTP_REQUEST
		    ? -EPROTONOSUPPORT
		    : -EPROTO;
	}
}

ssize_t
tls_recv(struct ssl_st *conn, void *to, size_t len, int *wants)
{
	lib.ERR_clear_error();
	return result(conn, lib.SSL_read(conn, to, (int)len), wants);
}

ssize_t
tls_send(struct ssl_st *conn, const void *from, size_t len, int *wants)
{
	lib.ERR_clear_error();
	return result(conn, lib.SSL_write(conn, from, (int)len), wants);
}

bool
tls_has_more(const struct ssl_st *conn)
{
	return lib.SSL_pending(conn) > 0;
}
