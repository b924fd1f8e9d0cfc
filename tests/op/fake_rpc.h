/*
 * fake_rpc.h - what surrounds the daemon's requests, scripted: calls in place
 * of src/rpc, Node operations, and sessions in place of daemon/sessions.c.
 * Time stands still but for fake_pass().
 */
#ifndef TESTS_OP_FAKE_RPC_H
#define TESTS_OP_FAKE_RPC_H

#include "daemon/dispatch.h"

#define SECOND_MS 1000
#define FAKE_ID                                                                \
	"0001-0001-a-0000000000000002-11111111-2222-3333-4444-555555555555"

void fake_init(void); /* first of all in main() */

void fake_turn(void); /* a few turns of the loop: at rest */
void fake_pass(int64_t ms);

/* ---- calls: fake_calls.c, unless a test has the real ones --------------------------------------------------------------- */

struct fake_call {
	struct call call; /* first member */
	unsigned char body[512];
	bool ended, left;
	unsigned sent; /* messages of a stream */
	bool busy;     /* it takes no more of them now */
	enum err_code code;
	char text[ERR_TEXT_MAX];
	unsigned char reply[1024];
	size_t reply_len;
	const char *details_type; /* NULL: none */
	unsigned char details[512];
	size_t details_len;
	char note[600];
};

/*
 * Sends a message (NULL: an empty one) with a deadline, unless timeout_ms is
 * 0; the caller frees with fake_free(). A call that is answered after it has
 * left, or twice, ends the test.
 */
struct fake_call *fake_ask(
    const char *method, const void *message, int64_t timeout_ms);

/* The same with a message as it is sent. */
struct fake_call *fake_ask_bytes(
    const char *method, const void *bytes, size_t len, int64_t timeout_ms);
void fake_leave(struct fake_call *fake, enum call_gone why);
void fake_free(struct fake_call *fake);

struct fake_call *fake_unstage(const char *path, int64_t timeout_ms);
struct fake_call *fake_delete(const char *id, bool secrets, int64_t timeout_ms);
struct fake_call *fake_unpublish(
    const char *id, bool secrets, int64_t timeout_ms);

/* ---- what they start ----------------------------------------------------- */

struct fake_op;

extern unsigned fake_started, fake_running; /* Node operations */
bool fake_is_detached(void);                /* the oldest one */
void fake_wake(int rc);                     /* ends the oldest one */

extern char fake_session_cluster[16]; /* that was asked last */
const void *fake_session_body(size_t *len);
extern unsigned fake_session_calls, fake_session_cancels;
extern bool fake_session_waits;    /* calls are not sent before fake_send() */
extern bool fake_session_lends;    /* there is one whose key can be used */
extern bool fake_session_flattens; /* one, since 3 s, told 1 s ago */
bool fake_session_is_open(void);
bool fake_session_is_sent(void);
bool fake_session_is_cancelled(void);
void fake_session_send(void);
void fake_session_answer(enum err_code code, const char *reply);

/* ---- the daemon ---------------------------------------------------------- */

#define FAKE_REQUESTS_MAX 6
void fake_start(bool controller, bool node, const struct config *config);
extern const char *fake_credentials_dir; /* NULL: the daemon has none */

bool fake_stop(void); /* false: something runs still */

/* With the clusters "a" and "c" at "m:1"; once in a process. */
struct config *fake_config(void);
void fake_config_free(struct config *config);

#endif
