/*
 * rules.c - see rules.h.
 */
#include "base/rules.h"

#include <string.h>

bool
rules_fs_type_is_known(const char *fs_type)
{
	static const char *const known[] = { "ext4", "ext3", "xfs", "btrfs" };

	for (size_t i = 0; i < countof(known); i++)
		if (str_eq(known[i], fs_type))
			return true;
	return false;
}

int
rules_name(
    const char *field, const char *text, const char *forbidden, struct err *err)
{
	size_t good;

	if (str_is_empty(text))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: missing", field);
	if (strlen(text) > RULES_NAME_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%s: longer than %d bytes", field, RULES_NAME_MAX);
	good = strcspn(text, forbidden);
	if (text[good] == '\0')
		return 0;
	if (strchr(RULES_BLANKS, text[good]) != NULL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%s: \"%.128s\" has a blank in it, which the kernel cannot be told",
		    field, text);
	return err_set(err, ERR_INVALID_ARGUMENT,
	    "%s: \"%.128s\" has a \"%c\" in it, which is not possible", field,
	    text, text[good]);
}

bool
rules_option_find(const char *options, const char *name, const char **value)
{
	size_t len = strlen(name);

	while (options != NULL && *options != '\0') {
		size_t n = strcspn(options, ",");

		if (n >= len && strncmp(options, name, len) == 0 &&
		    (n == len || options[len] == '=')) {
			*value = options + len + (n > len);
			return true;
		}
		options += n + (options[n] == ',');
	}
	return false;
}

int
rules_krbd_options(const char *field, const char *options, struct err *err)
{
	static const char *const ours[] = { "name", "key", "secret",
		"_pool_ns" };
	const char *value;
	int rc;

	if (str_is_empty(options))
		return 0;
	rc = rules_name(field, options, RULES_BLANKS, err);
	for (size_t i = 0; i < countof(ours) && rc == 0; i++)
		if (rules_option_find(options, ours[i], &value))
			rc = err_set(err, ERR_INVALID_ARGUMENT,
			    "%s: %s is set by the driver", field, ours[i]);
	return rc;
}

int
rules_mount_flags(const char *field, const char *flags, struct err *err)
{
	static const char *const refused[] = { "bind", "rbind", "move",
		"remount", "shared", "rshared", "private", "rprivate", "slave",
		"rslave", "unbindable", "runbindable", "loop", "offset",
		"sizelimit", "encryption", "helper", "uhelper", "fstab", "user",
		"users", "owner", "group", "X-mount.subdir" };

	while (flags != NULL && *flags != '\0') {
		const char *end = flags;
		size_t len = strcspn(flags, "=,");
		bool quoted = false;

		for (; *end != '\0' && (quoted || *end != ','); end++)
			if (*end == '"')
				quoted = !quoted;
		if (quoted)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "%s: \"%.128s\" has no closing quote", field,
			    flags);
		for (size_t i = 0; i < countof(refused); i++)
			if (strlen(refused[i]) == len &&
			    strncmp(refused[i], flags, len) == 0)
				return err_set(err, ERR_INVALID_ARGUMENT,
				    "%s: %s is not possible for a volume",
				    field, refused[i]);
		flags = end + (*end == ',');
	}
	return 0;
}

int
rules_mkfs_options(const char *field, const char *options, struct err *err)
{
	size_t words = 0;

	while (options != NULL && *options != '\0') {
		size_t len = strcspn(options, " ");

		words += len > 0;
		options += len + (options[len] == ' ');
	}
	if (words > RULES_MKFS_OPTIONS_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%s: more than %d options", field, RULES_MKFS_OPTIONS_MAX);
	return 0;
}
