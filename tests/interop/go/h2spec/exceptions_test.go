package h2spec

const ignored = "nghttp2 ignores it; RFC 9113 5.1 allows that, where RFC 7540 wanted an error"

// exceptions are the cases that this server does not pass, and why. One that passes, or that h2spec
// does not have by this name, fails the test.
var exceptions = map[string]struct{ name, reason string }{
	"http2/5.1/8":  {"closed: Sends a DATA frame after sending RST_STREAM frame", ignored},
	"http2/5.1/9":  {"closed: Sends a HEADERS frame after sending RST_STREAM frame", ignored},
	"http2/5.1/11": {"closed: Sends a DATA frame", ignored},
	"http2/5.1/12": {"closed: Sends a HEADERS frame", ignored},
	"http2/5.1.1/2": {"Sends stream identifier that is numerically smaller than previous",
		"nghttp2 cannot tell it from HEADERS on a closed stream, which it ignores"},
	"http2/5.3.1/2": {"Sends PRIORITY frame that depend on itself",
		"the server says SETTINGS_NO_RFC7540_PRIORITIES (RFC 9218 2.1) and ignores PRIORITY; " +
			"RFC 9113 has no such rule any more"},
	"http2/6.3/1": {"Sends a PRIORITY frame with 0x0 stream identifier",
		"PRIORITY is ignored, see above"},
}
