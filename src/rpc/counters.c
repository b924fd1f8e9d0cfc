/*
 * counters.c - names.
 */
#include "rpc/counters.h"

const char *
server_fault_name(enum server_fault fault)
{
	static const char *const name[SERVER_FAULT_COUNT] = {
		[SERVER_FAULT_PROTOCOL] = "protocol",
		[SERVER_FAULT_FLOOD] = "flood",
		[SERVER_FAULT_HANDSHAKE] = "handshake",
		[SERVER_FAULT_FIRST_CALL] = "first_call",
		[SERVER_FAULT_IDLE] = "idle",
		[SERVER_FAULT_STALLED] = "stalled",
		[SERVER_FAULT_SLOW_READER] = "slow_reader",
		[SERVER_FAULT_EVICTED] = "evicted",
		[SERVER_FAULT_MEMORY] = "memory",
	};

	return name[fault];
}

const char *
server_refusal_name(enum server_refusal refusal)
{
	static const char *const name[SERVER_REFUSED_COUNT] = {
		[SERVER_REFUSED_MALFORMED] = "malformed",
		[SERVER_REFUSED_HEADERS] = "headers",
		[SERVER_REFUSED_CALLS] = "calls",
		[SERVER_REFUSED_MEMORY] = "memory",
		[SERVER_REFUSED_SLOW] = "slow",
		[SERVER_REFUSED_OTHER] = "other",
	};

	return name[refusal];
}
