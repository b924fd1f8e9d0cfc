/*
 * method.h - the methods that `rbd-csictl call` knows: those of CSI and Admin,
 * by their table, and those of gRPC's health service.
 */
#ifndef CTL_METHOD_H
#define CTL_METHOD_H

#include "base/str.h"

#include <protobuf-c/protobuf-c.h>
#include <stdio.h>

struct ctl_method {
	const char *path; /* "/csi.v1.Node/NodeGetInfo" */
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *reply;
	bool stream; /* the reply is any number of messages */
};

/*
 * By "Node/NodeGetInfo" or "Health/Watch", also with the package before it,
 * and a slash before that. False if there is none such.
 */
bool ctl_method_find(struct ctl_method *method, const char *text) must_check;

/* One line a method. */
void ctl_method_list(FILE *out);

#endif
