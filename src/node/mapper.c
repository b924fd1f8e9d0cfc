/*
 * mapper.c - the table of mappers, and the choice among them.
 */
#include "node/mapper.h"

#include <errno.h>

static const struct mapper *const none[] = { NULL };
static const struct mapper *const *mappers = none; /* until the start */

int
mapper_init(const struct mapper *const *table, const struct mapper_setup *setup,
    struct err *err)
{
	int rc = 0;

	mappers = table;
	for (size_t i = 0; rc == 0 && mappers[i] != NULL; i++)
		rc = mappers[i]->init(setup, err);
	return rc;
}

const struct mapper *
mapper_at(size_t i)
{
	return mappers[i];
}

const struct mapper *
mapper_by_name(const char *name)
{
	size_t i = 0;

	while (mappers[i] != NULL && !str_eq(mappers[i]->name, name))
		i++;
	return mappers[i];
}

const struct mapper_child *
mapper_child_at(size_t i)
{
	return mappers[i] != NULL ? mappers[i]->child : NULL;
}

const struct mapper_child *
mapper_child_by_name(const char *name)
{
	const struct mapper *mapper = mapper_by_name(name);

	return mapper != NULL ? mapper->child : NULL;
}

/* ceph-csi's values of `mounter`; one that it does not know is krbd. */
static const char *
mapper_name_of(const char *mounter)
{
	static const struct {
		const char *mounter, *name;
	} table[] = { { "userspace", "userspace" }, { "rbd-nbd", "nbd" } };

	for (size_t i = 0; i < countof(table); i++)
		if (str_eq(table[i].mounter, mounter))
			return table[i].name;
	return MAPPER_DEFAULT;
}

static const struct mapper *
mapper_usable(const char *name, struct err *why)
{
	const struct mapper *mapper = mapper_by_name(name);

	if (mapper == NULL)
		(void)err_refuse(why, "this driver has no mapper %s", name);
	else if (!mapper->usable(why))
		mapper = NULL;
	return mapper;
}

const struct mapper *
mapper_choose(const char *mounter, const char *fallback, struct err *err)
{
	const char *name = mapper_name_of(mounter);
	struct err why = ERR_INIT, also = ERR_INIT;
	const struct mapper *mapper = mapper_usable(name, &why);

	if (mapper != NULL)
		return mapper;
	if (!str_is_empty(fallback) && !str_eq(fallback, "none") &&
	    !str_eq(fallback, name)) {
		mapper = mapper_usable(fallback, &also);
		if (mapper == NULL)
			(void)err_refuse(err,
			    "mounter %s: %s; mounter-fallback %s: %s", name,
			    why.text, fallback, also.text);
	} else {
		(void)err_refuse(err, "mounter %s: %s", name, why.text);
	}
	return mapper;
}

void
mapper_note(const struct mapper *mapper, const struct device_spec *spec, int id)
{
	if (mapper->note != NULL)
		mapper->note(spec, id);
}
