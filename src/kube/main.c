/*
 * main.c - rbd-csi-kube: one question to Kubernetes' API, as the pod's own
 * service account, and its answer on standard output.
 *
 *	rbd-csi-kube DIR secret NAMESPACE NAME	user and key, a line each
 *	rbd-csi-kube DIR node NAME		"out-of-service" or "in-service"
 *
 * DIR has the account's token and the API server's ca.crt. Exit status 0: the
 * answer; EXIT_NO_OBJECT: there is no such object; else one line that says why
 * there is no answer, and never what a secret has.
 *
 * A program of its own, so that a library for TLS is in memory only while it
 * is needed, and a server that does not answer holds up nobody else.
 */
#include "config.h"

#include "base/buf.h"
#include "base/exit.h"
#include "base/json.h"
#include "base/secret.h"
#include "kube/kube.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_S 10L
#define TOKEN_MAX 16384
#define ANSWER_MAX (4 << 20)
#define VALUE_MAX 1024

#define TAINT "node.kubernetes.io/out-of-service"

static int
fail(const char *what, const char *why)
{
	(void)printf("%s: %s\n", what, why);
	return 1;
}

static size_t
on_data(char *data, size_t one, size_t n, void *arg)
{
	(void)one; /* is 1 */
	return buf_append(arg, data, n) == 0 ? n : 0;
}

#define HEADER "Authorization: Bearer "
#define HEADER_MAX (sizeof(HEADER) + TOKEN_MAX)

/* Completes HEADER, which the caller wipes. NULL, or why it cannot. */
static const char *
authorization(const char *dir, char header[HEADER_MAX])
{
	auto_free char *path = str_fmt("%s/token", dir);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *token = header + strlen(HEADER);
	ssize_t n = fd < 0 ? -1 : read(fd, token, TOKEN_MAX);

	if (n < 0)
		return strerror(errno);
	while (n > 0 && (token[n - 1] == '\n' || token[n - 1] == ' '))
		n--;
	token[n] = '\0';
	return n == 0 ? "is empty" : NULL;
}

/* GETs a path of the API. Returns its status, or less than 0 having said why. */
static long
get(const char *dir, const char *path, struct buf *answer)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	auto_free char *ca = str_fmt("%s/ca.crt", dir);
	auto_free char *url = NULL;
	char header[HEADER_MAX] = HEADER, text[CURL_ERROR_SIZE] = "";
	struct curl_slist *headers;
	const char *why;
	long status = 0;
	CURL *curl;
	CURLcode rc;

	if (host == NULL || *host == '\0')
		return -fail("KUBERNETES_SERVICE_HOST", "is not set");
	why = authorization(dir, header);
	if (why != NULL)
		return -fail("the service account's token", why);
	url = str_fmt(
	    strchr(host, ':') != NULL ? "https://[%s]:%s%s" : "https://%s:%s%s",
	    host, str_is_empty(port) ? "443" : port, path);
	headers = curl_slist_append(NULL, header);
	curl = curl_easy_init();
	(void)curl_easy_setopt(curl, CURLOPT_URL, url);
	(void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
	(void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_S);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
	rc = curl_easy_perform(curl);
	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	secret_wipe(header, sizeof(header));
	if (rc != CURLE_OK)
		return -fail(
		    url, text[0] != '\0' ? text : curl_easy_strerror(rc));
	return status;
}

/* Prints a value of a Secret in a line. */
static int
print_value(const json_t *data, const char *key, const char *other)
{
	const char *text = json_get_string(data, key);
	unsigned char raw[VALUE_MAX];
	long n;

	if (str_is_empty(text))
		text = json_get_string(data, other);
	if (str_is_empty(text))
		return fail(key, "the secret has none");
	n = str_unbase64(raw, sizeof(raw), text, strlen(text));
	if (n <= 0 || memchr(raw, '\0', (size_t)n) != NULL)
		return fail(key, "the secret has something that is no text");
	while (n > 0 && strchr(" \t\r\n", raw[n - 1]) != NULL)
		n--;
	(void)printf("%.*s\n", (int)n, raw);
	secret_wipe(raw, sizeof(raw));
	return 0;
}

/* As ceph-csi: with either effect by which nothing may run there. */
static int
print_node(const json_t *object)
{
	const json_t *spec = json_object_get(object, "spec"), *taint;
	const char *effect;
	bool out = false;
	size_t i;

	json_array_foreach (json_object_get(spec, "taints"), i, taint) {
		effect = json_get_string(taint, "effect");
		if (str_eq(json_get_string(taint, "key"), TAINT) &&
		    (str_eq(effect, "NoExecute") ||
			str_eq(effect, "NoSchedule")))
			out = true;
	}
	(void)puts(out ? KUBE_OUT_OF_SERVICE : "in-service");
	return 0;
}

int
main(int argc, char **argv)
{
	bool secret = argc == 5 && str_eq(argv[2], "secret");
	auto_free char *path = NULL;
	auto_json json_t *object = NULL;
	const json_t *data;
	struct buf answer;
	char *name[2];
	long status;
	int rc;

	if (argc == 2 && str_eq(argv[1], "--version")) {
		puts("rbd-csi-kube " BUILT_VERSION);
		return 0;
	}
	if (!secret && !(argc == 4 && str_eq(argv[2], "node")))
		return fail(
		    argv[0], "DIR secret NAMESPACE NAME, or DIR node NAME");
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	name[0] = curl_easy_escape(NULL, argv[3], 0);
	name[1] = curl_easy_escape(NULL, argv[argc - 1], 0);
	path = secret
	    ? str_fmt("/api/v1/namespaces/%s/secrets/%s", name[0], name[1])
	    : str_fmt("/api/v1/nodes/%s", name[1]);
	buf_init(&answer, ANSWER_MAX);
	status = get(argv[1], path, &answer);
	if (status < 0)
		return 1;
	if (status == 404)
		return EXIT_NO_OBJECT;
	if (status != 200) {
		(void)printf("%s: status %ld\n", path, status);
		return 1;
	}
	object = json_loadb((const char *)answer.data, answer.len, 0, NULL);
	if (object == NULL)
		return fail(path, "the answer is no JSON");
	if (!secret)
		return print_node(object);
	data = json_object_get(object, "data");
	rc = print_value(data, "userID", "adminID");
	return rc != 0 ? rc : print_value(data, "userKey", "adminKey");
}
