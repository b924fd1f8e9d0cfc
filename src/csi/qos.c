/*
 * qos.c - see qos.h.
 */
#include "csi/qos.h"

#include <string.h>

#define INPUTS(name)                                                           \
	"rbd_base_qos_" name "_limit", "rbd_" name "_per_gib_limit",           \
	    "rbd_max_qos_" name "_limit"

static const char *const given_keys[CSI_QOS_INPUTS] = {
	INPUTS("iops"),
	INPUTS("read_iops"),
	INPUTS("write_iops"),
	INPUTS("bps"),
	INPUTS("read_bps"),
	INPUTS("write_bps"),
	"rbd_base_qos_vol_size",
};

static const char *const now_keys[CSI_QOS_LIMITS] = {
	"conf_rbd_qos_iops_limit",
	"conf_rbd_qos_read_iops_limit",
	"conf_rbd_qos_write_iops_limit",
	"conf_rbd_qos_bps_limit",
	"conf_rbd_qos_read_bps_limit",
	"conf_rbd_qos_write_bps_limit",
};

/* In the order of io.max. */
static const char *const cgroup_keys[CSI_QOS_CGROUP] = {
	".rbd.csi.ceph.com/cgroup_qos_max_read_bps",
	".rbd.csi.ceph.com/cgroup_qos_max_write_bps",
	".rbd.csi.ceph.com/cgroup_qos_max_read_iops",
	".rbd.csi.ceph.com/cgroup_qos_max_write_iops",
};

void
csi_qos_take(struct csi_qos *stored, const char *key, const char *value)
{
	for (size_t i = 0; i < CSI_QOS_INPUTS; i++)
		if (strcmp(key, given_keys[i]) == 0)
			stored->given[i] = value;
	for (size_t i = 0; i < CSI_QOS_LIMITS; i++)
		if (strcmp(key, now_keys[i]) == 0)
			stored->now[i] = value;
	for (size_t i = 0; i < CSI_QOS_CGROUP; i++)
		if (strcmp(key, cgroup_keys[i]) == 0)
			stored->cgroup[i] = value;
}

/* False: not given, or no number. */
static bool
number(const char *text, uint64_t *value)
{
	uint64_t n;

	if (text == NULL || str_to_u64(text, &n) < 0 || n > INT64_MAX)
		return false;
	*value = n;
	return true;
}

/* What a limit is for a volume of this size: a text, or NULL for none. */
static const char *
effective(const char *const given[CSI_QOS_INPUTS], size_t limit, uint64_t size,
    struct arena *arena)
{
	const char *const *of = given + 3 * limit;
	uint64_t base, per_gib, from, max, sum;

	if (!number(of[0], &base))
		return NULL;
	if (!number(of[1], &per_gib) ||
	    !number(given[CSI_QOS_BASE_SIZE], &from) || size <= from)
		return of[0];
	if (__builtin_mul_overflow((size - from) >> 30, per_gib, &sum) ||
	    __builtin_add_overflow(sum, base, &sum) || sum > INT64_MAX)
		sum = INT64_MAX;
	if (number(of[2], &max) && max > 0 && sum > max)
		sum = max;
	return arena_fmt(arena, "%llu", (unsigned long long)sum);
}

size_t
csi_qos_diff(const struct csi_qos *stored, const struct csi_qos *asked,
    uint64_t size, struct arena *arena, struct csi_qos_meta out[CSI_QOS_KEYS])
{
	const char *given[CSI_QOS_INPUTS];
	size_t n = 0;

	for (size_t i = 0; i < CSI_QOS_INPUTS; i++) {
		given[i] = stored->given[i];
		if (asked == NULL || asked->given[i] == NULL)
			continue;
		given[i] = asked->given[i];
		if (!str_eq(given[i], stored->given[i]))
			out[n++] = (struct csi_qos_meta){ given_keys[i],
				given[i] };
	}
	for (size_t i = 0; i < CSI_QOS_LIMITS; i++) {
		const char *value = effective(given, i, size, arena);

		if (value != NULL && !str_eq(value, stored->now[i]))
			out[n++] = (struct csi_qos_meta){ now_keys[i], value };
	}
	return n;
}

const char *
csi_qos_io_max(const struct csi_qos *stored, struct arena *arena)
{
	static const struct {
		const char *name;
		size_t own, both; /* indices of csi_qos.now */
	} limits[CSI_QOS_CGROUP] = {
		{ "rbps", 4, 3 },
		{ "wbps", 5, 3 },
		{ "riops", 1, 0 },
		{ "wiops", 2, 0 },
	};
	const char *text = "";
	bool limited = false;

	for (size_t i = 0; i < CSI_QOS_CGROUP; i++) {
		uint64_t own = 0, both = 0, value = 0;

		(void)number(stored->now[limits[i].own], &own);
		(void)number(stored->now[limits[i].both], &both);
		if (!number(stored->cgroup[i], &value) || value == 0)
			value = both > 0 && (own == 0 || both < own) ? both
								     : own;
		limited = limited || value > 0;
		text = arena_fmt(arena, "%s%s%s=%s", text, i > 0 ? " " : "",
		    limits[i].name,
		    value > 0
			? arena_fmt(arena, "%llu", (unsigned long long)value)
			: "max");
	}
	return limited ? text : "";
}
