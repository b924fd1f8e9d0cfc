/*
 * event_mem.h - memory for libevent, apart from everybody else's.
 *
 * libevent makes a small block for each descriptor number that it meets and
 * keeps it for ever. Among the blocks of connections, each of them would keep
 * a page from going back when the connections have gone.
 */
#ifndef CORE_EVENT_MEM_H
#define CORE_EVENT_MEM_H

/* Before the first call of libevent; a second call has no effect. */
void event_mem_init(void);

#endif
