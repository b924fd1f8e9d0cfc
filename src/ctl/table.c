/*
 * table.c - what is read and printed as text.
 */
#include "ctl/ctl.h"

#include <fcntl.h>
#include <string.h>

#define COLUMNS_MAX 12

/* Of a cell that tells how something is; "" where no person looks. */
static const char *
colour_of(const char *cell)
{
	if (!isatty(STDOUT_FILENO) || !str_is_empty(getenv("NO_COLOR")))
		return "";
	return str_eq(cell, "FAILED") ? "\033[31m"
	    : str_eq(cell, "warning") ? "\033[33m"
	    : str_eq(cell, "ok")      ? "\033[32m"
				      : "";
}

/* The cells of a column are as wide as the widest of them. */
void
ctl_print_table(const char *const headings[], const json_t *rows)
{
	size_t width[COLUMNS_MAX] = { 0 }, columns = 0, i;
	json_t *row;

	for (; headings[columns] != NULL; columns++)
		width[columns] = strlen(headings[columns]);
	json_array_foreach (rows, i, row)
		for (size_t c = 0; c < columns; c++) {
			size_t len = json_string_length(json_array_get(row, c));

			width[c] = len > width[c] ? len : width[c];
		}
	for (size_t c = 0; c < columns; c++)
		(void)printf("%-*s%s", c + 1 < columns ? (int)width[c] : 0,
		    headings[c], c + 1 < columns ? "  " : "\n");
	json_array_foreach (rows, i, row)
		for (size_t c = 0; c < columns; c++) {
			const char *cell = json_string_value(
			    json_array_get(row, c));
			const char *colour = colour_of(cell);

			(void)printf("%s%-*s%s%s", colour,
			    c + 1 < columns ? (int)width[c] : 0, cell,
			    *colour != '\0' ? "\033[m" : "",
			    c + 1 < columns ? "  " : "\n");
		}
}

void
ctl_text_add(char **text, const char *separator, const char *fmt, ...)
{
	char *more = NULL, *all;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&more, fmt, args) < 0)
		abort();
	va_end(args);
	all = str_fmt("%s%s%s", *text, **text != '\0' ? separator : "", more);
	free(more);
	free(*text);
	*text = all;
}

void
ctl_print_json(const json_t *json)
{
	(void)json_dumpf(json, stdout, JSON_INDENT(2));
	(void)putchar('\n');
}

char *
ctl_read_text(const char *path, size_t max)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	size_t len = 0, room = 0;
	ssize_t n = 0;

	while (fd >= 0 && len < max) {
		if (len == room)
			text = mem_grow(text, (room = room * 2 + 65536) + 1);
		n = read(fd, text + len, room - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (text == NULL || n < 0) {
		free(text);
		return NULL;
	}
	text[len < max ? len : max] = '\0';
	return text;
}
