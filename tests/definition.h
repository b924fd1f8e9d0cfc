/*
 * definition.h - a definition by its RPC's plain name or request, for tests.
 */
#ifndef TESTS_DEFINITION_H
#define TESTS_DEFINITION_H

#include "csi/definitions.h"

/* NULL: there is none such. */
static inline const struct csi_definition *
definition_of(const char *name)
{
	for (size_t i = 0; i < CSI_COUNT; i++)
		if (str_eq(csi_definitions[i].name, name))
			return &csi_definitions[i];
	return NULL;
}

static inline const struct csi_definition *
definition_taking(const ProtobufCMessage *request)
{
	const struct csi_definition *def = csi_definitions;

	while (def->request != request->descriptor)
		def++;
	return def;
}

#endif
