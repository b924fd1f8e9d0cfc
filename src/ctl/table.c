/*
 * table.c - what is read and printed as text.
 */
#include "ctl/ctl.h"

#include <fcntl.h>
#include <string.h>

#define COLUMNS_MAX 12

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
		for (size_t c = 0; c < columns; c++)
			(void)printf("%-*s%s",
			    c + 1 < columns ? (int)width[c] : 0,
			    json_string_value(json_array_get(row, c)),
			    c + 1 < columns ? "  " : "\n");
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
