/*
 * client.c - clients: where their calls go, and on what terms.
 *
 * Calls are in client_call.c, connections in client_conn.c, what header lists
 * mean in client_head.c.
 */
#include "rpc/client.h"

#include "rpc/client_conn.h"
#include "rpc/listen.h"

#include <assert.h>

#define REPLY_BYTES ((size_t)64 << 20)

struct client *
client_new(const char *endpoint)
{
	struct client *client = mem_new(sizeof(*client));

	client->endpoint_rc = listen_parse(
	    endpoint, &client->address, &client->endpoint_err);
	client->reply_bytes = REPLY_BYTES;
	client_conns_init(client);
	return client;
}

void
client_connect_per_call(struct client *client)
{
	client->connect_per_call = true;
	client->shared = NULL;
}

void
client_limit_reply(struct client *client, size_t bytes)
{
	client->reply_bytes = bytes;
}

void
client_free(struct client *client)
{
	const struct client_conn *conn;

	LIST_FOREACH (conn, &client->conns, link)
		assert(
		    TAILQ_EMPTY(&conn->calls) && TAILQ_EMPTY(&conn->waiting));
	client_conns_fini(client);
	free(client);
}
