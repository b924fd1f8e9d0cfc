/*
 * bench_driver.c - the capabilities of a driver.
 */
#include "ctl/bench_driver.h"

#include "ctl/ctl.h"
#include "rpc/client.h"

#include <string.h>

/* One question; the caller owns the answer. NULL: the service is not there. */
static json_t *
ask(const struct ctl_args *args, struct client *client, const char *method,
    struct err *err)
{
	struct ctl_args to = *args;
	struct err why = ERR_INIT;
	json_t *reply = NULL;

	to.client = client;
	if (err_is_set(err))
		return NULL; /* one is enough */
	if (ctl_ask(&to, method, json_object(), &reply, &why) != CTL_OK &&
	    why.code != ERR_UNIMPLEMENTED)
		(void)err_set(err, why.code, "%s: %s", method, why.text);
	return reply;
}

static void
add_can(struct bench_driver *driver, const char *service, const char *what)
{
	json_t *can = json_object_get(driver->told, "can");

	(void)json_array_append_new(can,
	    json_sprintf("%s%s%s", service, what != NULL ? "." : "",
		what != NULL ? what : ""));
}

/* Of {"capabilities": [{KIND: {"type": "CREATE_DELETE_VOLUME"}}]}. */
static void
add_capabilities(struct bench_driver *driver, const char *service,
    const json_t *reply, const char *kind)
{
	size_t i;
	json_t *each;

	json_array_foreach (json_object_get(reply, "capabilities"), i, each) {
		const char *type = json_get_string(
		    json_object_get(each, kind), "type");

		if (type != NULL)
			add_can(driver, service, type);
	}
}

int
bench_driver_ask(struct bench_driver *driver, const struct ctl_args *args,
    bool whole, struct err *err)
{
	const char *endpoint = args->text[CTL_CONTROLLER];
	struct client *controller = endpoint != NULL ? client_new(endpoint)
						     : args->client;
	auto_json json_t *info = ask(
	    args, args->client, "Identity/GetPluginInfo", err);
	auto_json json_t *plugin = whole
	    ? ask(args, controller, "Identity/GetPluginCapabilities", err)
	    : NULL;
	auto_json json_t *of_controller = whole
	    ? ask(args, controller, "Controller/ControllerGetCapabilities", err)
	    : NULL;
	auto_json json_t *of_node = whole
	    ? ask(args, args->client, "Node/NodeGetCapabilities", err)
	    : NULL;
	auto_json json_t *node = of_node != NULL
	    ? ask(args, args->client, "Node/NodeGetInfo", err)
	    : NULL;
	json_t *topology;

	if (endpoint != NULL)
		client_free(controller);
	driver->topology = NULL;
	driver->told = json_pack("{s:s*, s:s*, s:O*, s:s*, s:[]}", "name",
	    json_get_string(info, "name"), "version",
	    json_get_string(info, "vendorVersion"), "manifest",
	    json_object_get(info, "manifest"), "node_id",
	    json_get_string(node, "nodeId"), "can");
	if (of_controller != NULL)
		add_can(driver, "controller", NULL);
	if (node != NULL)
		add_can(driver, "node", NULL);
	add_capabilities(driver, "plugin", plugin, "service");
	add_capabilities(driver, "controller", of_controller, "rpc");
	add_capabilities(driver, "node", of_node, "rpc");
	/* By {"segments": {...}} what provisioners ask for. */
	topology = json_object_get(node, "accessibleTopology");
	if (topology != NULL &&
	    bench_driver_can(driver, "plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS"))
		driver->topology = json_pack("{s:[O], s:[O]}", "requisite",
		    topology, "preferred", topology);
	return err_is_set(err) ? err_rc_of(err->code) : 0;
}

void
bench_driver_fini(struct bench_driver *driver)
{
	json_decref(driver->told);
	json_decref(driver->topology);
}

const char *
bench_driver_node(const struct bench_driver *driver)
{
	const char *node = json_get_string(driver->told, "node_id");

	return node != NULL ? node : "";
}

bool
bench_driver_can(const struct bench_driver *driver, const char *what)
{
	size_t i;
	json_t *each;

	if (what == NULL)
		return true;
	json_array_foreach (json_object_get(driver->told, "can"), i, each)
		if (str_eq(json_string_value(each), what))
			return true;
	return false;
}
