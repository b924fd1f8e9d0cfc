/*
 * cephx_key.h - what a user's key for Ceph is, before anybody is asked to use
 * it. Not every librados and kernel can use every type, and what they say then
 * ("-22") blames something else.
 */
#ifndef BASE_CEPHX_KEY_H
#define BASE_CEPHX_KEY_H

#include "base/err.h"
#include "base/secret.h"

enum cephx_key_type {
	CEPHX_KEY_AES = 1,     /* every release and kernel */
	CEPHX_KEY_AES256K = 2, /* Ceph 19.2.6, 20.2.4; Linux 7.0 */
};

/*
 * The type of a key in base64, perhaps one that we do not know, which is above
 * 2. INVALID_ARGUMENT with a text that names client.USER and the fault.
 */
int cephx_key_type(
    const char *user, const struct secret *key, struct err *err) must_check;

/*
 * Sets FAILED_PRECONDITION: `who` ("Linux 6.1") cannot use a key of this type,
 * and what helps: `instead` ("a newer kernel"), or a key of the old type.
 */
void cephx_key_refuse(const char *user, int type, const char *who,
    const char *instead, struct err *err);

#endif
